//! Tests of `linear`.

use burn::tensor::{DType, Device, Tensor};

use crate::{
    MatmulPrecision::{self, Bf16, F16, F32},
    Route,
    check::{assert_is_gradient, assert_routes_agree, fill, numbers, values, with_threads},
    linear, with_route,
};

/// Output and gradients of `x`, weight and bias.
fn run(
    dims: [usize; 3],
    d_out: usize,
    with_bias: bool,
    precision: MatmulPrecision,
) -> Vec<Vec<f64>> {
    let device = Device::flex().autodiff();
    let x = fill(dims, 1, &device, DType::F32).require_grad();
    let weight = fill([d_out, dims[2]], 2, &device, DType::F32).require_grad();
    let bias = fill([d_out], 3, &device, DType::F32).require_grad();
    let with_bias = with_bias.then(|| bias.clone());
    let y = linear(x.clone(), weight.clone(), with_bias.clone(), precision);
    let upstream = fill([dims[0], dims[1], d_out], 4, &device, DType::F32);
    let gradients = (y.clone() * upstream).sum().backward();
    let mut all = vec![
        values(y),
        values(x.grad(&gradients).unwrap()),
        values(weight.grad(&gradients).unwrap()),
    ];
    all.extend(with_bias.map(|bias| values(bias.grad(&gradients).unwrap())));
    all
}

#[test]
fn native_and_composed_agree_with_all_gradients() {
    for (dims, d_out) in [([2, 3, 5], 4), ([1, 1, 1], 1), ([2, 150, 40], 72)] {
        for with_bias in [true, false] {
            assert_routes_agree(1e-5, || run(dims, d_out, with_bias, F32));
            // The composed form rounds its results to bf16 too.
            assert_routes_agree(6e-3, || run(dims, d_out, with_bias, Bf16));
            assert_routes_agree(8e-4, || run(dims, d_out, with_bias, F16));
        }
    }
}

#[test]
fn the_weight_gradient_is_the_derivative() {
    let at = numbers(12, 7);
    let device = Device::flex().autodiff();
    let loss = |weight: Tensor<2>| {
        let x = fill([2, 4], 8, &device, DType::F64);
        linear(x, weight, None, F32).powi_scalar(3).sum()
    };
    let weight = |at: &[f64]| Tensor::<1>::from_data(at, (&device, DType::F64)).reshape([3, 4]);
    let leaf = weight(&at).require_grad();
    let gradients = loss(leaf.clone()).backward();
    let gradient = values(leaf.grad(&gradients).unwrap());
    assert_is_gradient(&at, &gradient, 1, |at| loss(weight(at)).into_scalar());
}

#[test]
fn transposed_and_sliced_inputs_need_no_copy_to_be_right() {
    assert_routes_agree(1e-5, || {
        let device = Device::flex();
        let x = fill([7, 9], 1, &device, DType::F32)
            .transpose()
            .slice([1..6, 2..7]);
        let weight = fill([5, 8], 2, &device, DType::F32)
            .transpose()
            .narrow(0, 2, 4);
        vec![values(linear(x, weight, None, F32))]
    });
}

#[test]
fn untracked_operands_get_no_gradient() {
    let device = Device::flex().autodiff();
    let x = fill([3, 4], 1, &device, DType::F32);
    let weight = fill([5, 4], 2, &device, DType::F32).require_grad();
    let gradients = linear(x.clone(), weight.clone(), None, F32)
        .sum()
        .backward();
    assert!(x.grad(&gradients).is_none());
    assert!(weight.grad(&gradients).is_some());
}

#[test]
fn empty_input_gives_empty_output() {
    let device = Device::flex();
    let weight = fill([5, 4], 2, &device, DType::F32);
    let y = linear(
        Tensor::<2>::zeros([0, 4], &device),
        weight,
        Some(Tensor::zeros([5], &device)),
        F32,
    );
    assert_eq!(y.dims(), [0, 5]);
}

#[test]
fn threads_leave_the_bits_alone() {
    let on = |threads| with_threads(threads, || run([4, 129, 96], 200, true, F32));
    assert_eq!(on(1), on(2));
}

#[test]
#[should_panic(expected = "linear: the last axis of x must be d_in")]
fn rejects_a_weight_that_does_not_fit() {
    let device = Device::flex();
    with_route(Route::Composed, || {
        linear(
            Tensor::<2>::zeros([2, 3], &device),
            Tensor::zeros([5, 4], &device),
            None,
            F32,
        )
    });
}

#[test]
fn f16_keeps_eleven_bits_and_overflows_at_65520() {
    let device = Device::flex();
    let value = |x: f32| Tensor::<2>::from_data([[x]], &device);
    let product = |x, weight| linear(value(x), value(weight), None, F16).into_scalar::<f32>();
    for route in [Route::Native, Route::Composed] {
        with_route(route, || {
            // Between the half precision numbers 1 and 1 + 2^-10; then one of them.
            assert!((product(1.0 + 1.0 / 4096.0, 3.0) - 3.0).abs() < 1e-6);
            assert!((product(1.0 + 1.0 / 1024.0, 2.0) - (2.0 + 1.0 / 512.0)).abs() < 1e-6);
            assert!((product(65504.0, 0.5) - 32752.0).abs() < 1e-3);
            assert!(product(65520.0, 0.5).is_infinite());
        });
    }
}

#[test]
fn bf16_rounds_the_operands_and_nothing_else() {
    let device = Device::flex();
    let value = |x: f32| Tensor::<2>::from_data([[x]], &device);
    let product = |x, weight, precision| {
        linear(value(x), value(weight), None, precision).into_scalar::<f32>()
    };
    let beyond = 1.0 + 1.0 / 512.0; // between the bf16 numbers 1 and 1 + 2^-7
    for route in [Route::Native, Route::Composed] {
        with_route(route, || {
            assert!((product(beyond, 3.0, Bf16) - 3.0).abs() < 1e-6);
            assert!((product(beyond, 3.0, F32) - 3.0 * beyond).abs() < 1e-6);
        });
    }
    // The product of two bf16 numbers needs more than 8 bits, and has them.
    let fine = 1.0 + 1.0 / 128.0;
    assert!((product(fine, fine, Bf16) - fine * fine).abs() < 1e-6);
}

#[test]
fn a_row_has_the_same_bits_in_any_small_batch() {
    let device = Device::flex();
    for (d_in, d_out) in [(5, 3), (77, 130), (600, 33)] {
        let x = fill([64, d_in], 1, &device, DType::F32);
        let weight = fill([d_out, d_in], 2, &device, DType::F32);
        let bias = fill([d_out], 3, &device, DType::F32);
        let run = |x: Tensor<2>| values(linear(x, weight.clone(), Some(bias.clone()), F32));
        let alone: Vec<f64> = (0..64)
            .flat_map(|row| run(x.clone().narrow(0, row, 1)))
            .collect();
        // No group of four rows, one, two, three, four and more.
        for (rows, threads) in [(2, 1), (7, 3), (9, 2), (14, 2), (17, 1), (64, 2)] {
            let found = with_threads(threads, || run(x.clone().narrow(0, 0, rows)));
            assert_eq!(found, alone[..rows * d_out]);
        }
        let composed = with_route(Route::Composed, || run(x.clone()));
        crate::check::assert_close("composed", &alone, &composed, 1e-5);
    }
}
