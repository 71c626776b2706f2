//! Tests of `swiglu`.

use burn::tensor::{DType, Device, Tensor};

use crate::{
    check::{
        assert_frozen_operands_change_nothing, assert_is_gradient, assert_routes_agree, fill,
        numbers, values, with_threads,
    },
    swiglu,
};

/// Output and gradients of gate and up.
fn run(dims: [usize; 2]) -> Vec<Vec<f64>> {
    let device = Device::flex().autodiff();
    let leaf = |seed| {
        let x = fill(dims, seed, &device, DType::F32) * 6.0;
        x.detach().require_grad()
    };
    let (gate, up) = (leaf(1), leaf(2));
    let y = swiglu(gate.clone(), up.clone());
    let upstream = fill(dims, 3, &device, DType::F32);
    let gradients = (y.clone() * upstream).sum().backward();
    vec![
        values(y),
        values(gate.grad(&gradients).unwrap()),
        values(up.grad(&gradients).unwrap()),
    ]
}

#[test]
fn native_and_composed_agree_with_both_gradients() {
    for dims in [[1, 1], [1, 37], [5, 1], [5, 4001]] {
        assert_routes_agree(2e-6, || run(dims));
    }
}

#[test]
fn halves_of_one_tensor_and_transposed_input_keep_their_places() {
    assert_routes_agree(1e-6, || {
        let device = Device::flex().autodiff();
        let both = fill([5, 14], 1, &device, DType::F32).require_grad();
        let gate = both.clone().narrow(1, 0, 7).transpose();
        let up = both.clone().narrow(1, 7, 7).transpose();
        let y = swiglu(gate, up);
        let upstream = fill([5, 7], 2, &device, DType::F32).transpose();
        let gradients = (y.clone() * upstream).sum().backward();
        vec![values(y), values(both.grad(&gradients).unwrap())]
    });
}

#[test]
fn gradients_are_the_derivatives() {
    let device = Device::flex().autodiff();
    let (gate_at, up_at) = (numbers(7, 3), numbers(7, 4));
    let tensor = |at: &[f64]| Tensor::<1>::from_data(at, (&device, DType::F64));
    let (gate, up) = (
        tensor(&gate_at).require_grad(),
        tensor(&up_at).require_grad(),
    );
    let gradients = swiglu(gate.clone(), up.clone()).sum().backward();
    let loss = |gate, up| swiglu(gate, up).sum().into_scalar::<f64>();
    let dgate = values(gate.grad(&gradients).unwrap());
    assert_is_gradient(&gate_at, &dgate, 1, |at| loss(tensor(at), tensor(&up_at)));
    let dup = values(up.grad(&gradients).unwrap());
    assert_is_gradient(&up_at, &dup, 1, |at| loss(tensor(&gate_at), tensor(at)));
}

#[test]
fn a_gate_far_from_zero_is_open_or_shut_and_nan_stays() {
    let device = Device::flex();
    let gate = Tensor::<1>::from_data([-1e4, -60.0, 60.0, 1e4, f32::NAN], &device);
    let y = values(swiglu(gate, Tensor::full([5], 2.0, &device)));
    assert!(y[0].abs() < 1e-20 && y[1].abs() < 1e-20 && y[4].is_nan());
    assert_eq!(y[2..4], [120.0, 2e4]);
}

#[test]
fn the_gradient_reuses_no_buffer_that_others_hold() {
    let device = Device::flex().autodiff();
    let (gate, up) = (
        fill([40], 1, &device, DType::F32).require_grad(),
        fill([40], 2, &device, DType::F32).require_grad(),
    );
    // One gradient goes to both uses of y.
    let y = swiglu(gate, up.clone());
    let other = fill([40], 3, &device, DType::F32).require_grad();
    let gradients = (y + other.clone()).sum().backward();
    assert_eq!(values(other.grad(&gradients).unwrap()), [1.0; 40]);
}

#[test]
fn a_frozen_input_gets_no_gradient() {
    let device = Device::flex().autodiff();
    let gate = fill([9], 1, &device, DType::F32);
    let up = fill([9], 2, &device, DType::F32).require_grad();
    let gradients = swiglu(gate.clone(), up.clone()).sum().backward();
    assert!(gate.grad(&gradients).is_none() && up.grad(&gradients).is_some());
}

#[test]
fn threads_leave_the_bits_alone() {
    let on = |threads| with_threads(threads, || run([9, 4001]));
    assert_eq!(on(1), on(2));
}

#[test]
#[should_panic(expected = "swiglu: up must have the shape of gate")]
fn rejects_unequal_shapes() {
    let device = Device::flex();
    let _ = swiglu(
        Tensor::<2>::zeros([2, 3], &device),
        Tensor::zeros([1, 3], &device),
    );
}

#[test]
fn a_frozen_operand_changes_nothing_for_the_other() {
    assert_frozen_operands_change_nothing([4001, 4001], |[gate, up]| swiglu(gate, up));
}
