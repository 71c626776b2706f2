//! Tests of `layer_norm`.

use burn::tensor::{DType, Device, Tensor};

use crate::{
    check::{
        assert_frozen_operands_change_nothing, assert_is_gradient, assert_routes_agree, fill,
        numbers, values, with_threads,
    },
    layer_norm,
};

/// Output and gradients of `x`, weight and bias.
fn run(dims: [usize; 3], with_bias: bool) -> Vec<Vec<f64>> {
    let device = Device::flex().autodiff();
    let x = (fill(dims, 1, &device, DType::F32) * 3.0 + 0.5)
        .detach()
        .require_grad();
    let weight = fill([dims[2]], 2, &device, DType::F32).require_grad();
    let bias = fill([dims[2]], 3, &device, DType::F32).require_grad();
    let y = layer_norm(
        x.clone(),
        weight.clone(),
        with_bias.then(|| bias.clone()),
        1e-5,
    );
    let upstream = fill(dims, 4, &device, DType::F32);
    let gradients = (y.clone() * upstream).sum().backward();
    let mut all = vec![
        values(y),
        values(x.grad(&gradients).unwrap()),
        values(weight.grad(&gradients).unwrap()),
    ];
    all.extend(with_bias.then(|| values(bias.grad(&gradients).unwrap())));
    all
}

#[test]
fn native_and_composed_agree_with_all_gradients() {
    for dims in [[2, 3, 5], [1, 1, 1], [3, 50, 96]] {
        assert_routes_agree(1e-5, || run(dims, true));
        assert_routes_agree(1e-5, || run(dims, false));
    }
}

#[test]
fn transposed_input_keeps_its_places() {
    assert_routes_agree(1e-5, || {
        let device = Device::flex().autodiff();
        let x = fill([7, 3], 1, &device, DType::F32).require_grad();
        let weight = fill([14], 2, &device, DType::F32).require_grad();
        let y = layer_norm(
            x.clone().transpose(),
            weight.clone().narrow(0, 3, 7),
            None,
            1e-5,
        );
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
fn no_rows_give_no_rows() {
    let device = Device::flex();
    let x = Tensor::<2>::zeros([0, 4], &device);
    let y = layer_norm(x, Tensor::ones([4], &device), None, 1e-5);
    assert_eq!(y.dims(), [0, 4]);
}

#[test]
fn the_gradient_is_the_derivative() {
    let device = Device::flex().autodiff();
    let at = numbers(12, 5);
    let tensor = |at: &[f64]| Tensor::<1>::from_data(at, (&device, DType::F64)).reshape([2, 6]);
    let loss = |x: Tensor<2>| {
        let weight = fill([6], 6, &device, DType::F64);
        layer_norm(x, weight, None, 1e-5).powi_scalar(3).sum()
    };
    let x = tensor(&at).require_grad();
    let gradients = loss(x.clone()).backward();
    let gradient = values(x.grad(&gradients).unwrap());
    assert_is_gradient(&at, &gradient, 1, |at| loss(tensor(at)).into_scalar());
}

#[test]
fn a_large_mean_does_not_spoil_the_variance() {
    let device = Device::flex();
    let x = fill([2, 64], 1, &device, DType::F32);
    let plain = values(layer_norm(
        x.clone(),
        Tensor::ones([64], &device),
        None,
        1e-5,
    ));
    let far = values(layer_norm(
        x + 100.0,
        Tensor::ones([64], &device),
        None,
        1e-5,
    ));
    crate::check::assert_close("shifted", &far, &plain, 1e-4);
}

#[test]
fn the_gradient_reuses_no_buffer_that_others_hold() {
    let device = Device::flex().autodiff();
    let x = fill([4, 8], 1, &device, DType::F32).require_grad();
    let y = layer_norm(x.clone(), Tensor::ones([8], &device), None, 1e-5);
    let twice = (y.clone() * y.clone() + y.clone()).sum();
    let gradients = twice.backward();
    let plain = x.clone().without_autodiff();
    let again = plain.autodiff().require_grad();
    let y = layer_norm(again.clone(), Tensor::ones([8], &device), None, 1e-5);
    let gradients_again = ((y.clone() + 1.0) * y).sum().backward();
    crate::check::assert_close(
        "dx",
        &values(x.grad(&gradients).unwrap()),
        &values(again.grad(&gradients_again).unwrap()),
        1e-5,
    );
}

#[test]
fn threads_leave_the_bits_alone() {
    let on = |threads| with_threads(threads, || run([3, 101, 64], true));
    assert_eq!(on(1), on(2));
}

#[test]
#[should_panic(expected = "weight must be [d_model]")]
fn rejects_a_weight_of_another_width() {
    let device = Device::flex();
    let _ = layer_norm(
        Tensor::<2>::zeros([2, 3], &device),
        Tensor::ones([4], &device),
        None,
        0.0,
    );
}

#[test]
fn frozen_operands_change_nothing_for_the_others() {
    assert_frozen_operands_change_nothing([70 * 24, 24, 24], |[x, weight, bias]| {
        layer_norm(x.reshape([70, 24]), weight, Some(bias), 1e-5).flatten(0, 1)
    });
    assert_frozen_operands_change_nothing([70 * 24, 24], |[x, weight]| {
        layer_norm(x.reshape([70, 24]), weight, None, 1e-5).flatten(0, 1)
    });
}
