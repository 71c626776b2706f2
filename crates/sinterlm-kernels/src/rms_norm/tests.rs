//! Tests of `rms_norm`.

use burn::tensor::{DType, Device, Tensor};

use crate::{
    check::{
        assert_close, assert_frozen_operands_change_nothing, assert_is_gradient,
        assert_routes_agree, fill, numbers, values, with_threads,
    },
    rms_norm,
};

/// Output and gradients of `x` and weight.
fn run(dims: [usize; 3], eps: f64) -> Vec<Vec<f64>> {
    let device = Device::flex().autodiff();
    let x = (fill(dims, 1, &device, DType::F32) * 3.0 + 0.5)
        .detach()
        .require_grad();
    let weight = fill([dims[2]], 2, &device, DType::F32).require_grad();
    let y = rms_norm(x.clone(), weight.clone(), eps);
    let upstream = fill(dims, 4, &device, DType::F32);
    let gradients = (y.clone() * upstream).sum().backward();
    vec![
        values(y),
        values(x.grad(&gradients).unwrap()),
        values(weight.grad(&gradients).unwrap()),
    ]
}

#[test]
fn native_and_composed_agree_with_all_gradients() {
    for dims in [[2, 3, 5], [1, 1, 33], [3, 50, 96]] {
        assert_routes_agree(1e-5, || run(dims, 1e-5));
    }
    // Where rows have one element the gradient is eps and rounding: only a large one is compared.
    for dims in [[1, 1, 1], [4, 1, 1]] {
        assert_routes_agree(1e-5, || run(dims, 0.5));
    }
}

#[test]
fn transposed_and_expanded_input_keeps_its_places() {
    assert_routes_agree(1e-5, || {
        let device = Device::flex().autodiff();
        let x = fill([7, 3], 1, &device, DType::F32).require_grad();
        let weight = fill([1], 2, &device, DType::F32).require_grad();
        let y = rms_norm(x.clone().transpose(), weight.clone().expand([7]), 1e-5);
        let upstream = fill([7, 3], 3, &device, DType::F32).transpose();
        let gradients = (y.clone() * upstream).sum().backward();
        vec![
            values(y),
            values(x.grad(&gradients).unwrap()),
            values(weight.grad(&gradients).unwrap()),
        ]
    });
}

#[test]
fn gradients_are_the_derivatives() {
    let device = Device::flex().autodiff();
    let (x_at, weight_at) = (numbers(12, 5), numbers(6, 6));
    let x = |at: &[f64]| Tensor::<1>::from_data(at, (&device, DType::F64)).reshape([2, 6]);
    let weight = |at: &[f64]| Tensor::<1>::from_data(at, (&device, DType::F64));
    let loss = |x: Tensor<2>, weight| rms_norm(x, weight, 1e-5).powi_scalar(3).sum();
    let (x_leaf, weight_leaf) = (x(&x_at).require_grad(), weight(&weight_at).require_grad());
    let gradients = loss(x_leaf.clone(), weight_leaf.clone()).backward();
    let dx = values(x_leaf.grad(&gradients).unwrap());
    assert_is_gradient(&x_at, &dx, 1, |at| {
        loss(x(at), weight(&weight_at)).into_scalar()
    });
    let dweight = values(weight_leaf.grad(&gradients).unwrap());
    assert_is_gradient(&weight_at, &dweight, 1, |at| {
        loss(x(&x_at), weight(at)).into_scalar()
    });
}

#[test]
fn the_size_of_the_input_does_not_matter() {
    let device = Device::flex();
    let x = fill([2, 64], 1, &device, DType::F32);
    let norm = |x| values(rms_norm(x, Tensor::ones([64], &device), 0.0));
    assert_close("scaled", &norm(x.clone() * 1e4), &norm(x), 1e-6);
}

#[test]
fn a_row_of_zeros_gives_zeros_and_finite_gradients() {
    let device = Device::flex().autodiff();
    let x = Tensor::<2>::zeros([1, 4], &device).require_grad();
    let y = rms_norm(x.clone(), Tensor::ones([4], &device), 1e-6);
    let gradients = y.clone().sum().backward();
    assert_eq!(values(y), [0.0; 4]);
    assert_close("dx", &values(x.grad(&gradients).unwrap()), &[1e3; 4], 1e-6);
}

#[test]
fn bf16_is_computed_in_f32_and_returned_as_bf16() {
    let device = Device::flex();
    let x = fill([3, 40], 1, &device, DType::BF16);
    let weight = fill([40], 2, &device, DType::BF16);
    let y = rms_norm(x.clone(), weight.clone(), 1e-5);
    assert_eq!(y.dtype(), DType::BF16);
    let wide = rms_norm(x.cast(DType::F32), weight.cast(DType::F32), 1e-5);
    let rounded = values(wide.cast(DType::BF16));
    assert_close("bf16", &values(y), &rounded, 1e-2);
}

#[test]
fn no_rows_give_no_rows() {
    let device = Device::flex();
    let y = rms_norm(
        Tensor::<2>::zeros([0, 4], &device),
        Tensor::ones([4], &device),
        1e-5,
    );
    assert_eq!(y.dims(), [0, 4]);
}

#[test]
fn threads_leave_the_bits_alone() {
    let on = |threads| with_threads(threads, || run([3, 101, 64], 1e-5));
    assert_eq!(on(1), on(2));
}

#[test]
#[should_panic(expected = "rms_norm: weight must be [d_model]")]
fn rejects_a_weight_of_another_width() {
    let device = Device::flex();
    let _ = rms_norm(
        Tensor::<2>::zeros([2, 3], &device),
        Tensor::ones([4], &device),
        0.0,
    );
}

#[test]
fn a_frozen_operand_changes_nothing_for_the_other() {
    assert_frozen_operands_change_nothing([70 * 24, 24], |[x, weight]| {
        rms_norm(x.reshape([70, 24]), weight, 1e-5).flatten(0, 1)
    });
}
