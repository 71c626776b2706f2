//! Tests of `gelu`.

use burn::tensor::{DType, Device, Tensor};

use crate::{
    GeluKind,
    check::{assert_is_gradient, assert_routes_agree, fill, numbers, values, with_threads},
    gelu,
};

const KINDS: [GeluKind; 2] = [GeluKind::Tanh, GeluKind::Exact];

/// `½·erfc(-x/√2)` in f64: the continued fraction of the tail, or the series around 0.
fn normal(x: f64) -> f64 {
    let s = x.abs();
    let density = (-0.5 * s * s).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let tail = if s > 3.0 {
        let fraction = (1..200).rev().fold(s, |f, k| s + f64::from(k) / f);
        density / fraction
    } else {
        let (mut term, mut sum) = (s, s);
        for k in 1..100 {
            term *= s * s / f64::from(2 * k + 1);
            sum += term;
        }
        0.5 - density * sum
    };
    if x < 0.0 { tail } else { 1.0 - tail }
}

fn exact(x: f64, kind: GeluKind) -> f64 {
    match kind {
        GeluKind::Exact => x * normal(x),
        GeluKind::Tanh => {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            x / (1.0 + (-2.0 * u).exp())
        }
    }
}

#[test]
fn values_are_within_1e_7_of_f64() {
    for kind in KINDS {
        let x = (-4000..4000).map(|i| i as f32 * 0.002).collect::<Vec<_>>();
        let y = values(gelu(Tensor::<1>::from_data(&x[..], &Device::flex()), kind));
        for (&x, &found) in x.iter().zip(&y) {
            let wanted = exact(f64::from(x), kind);
            let error = (found - wanted).abs();
            assert!(
                error <= 1e-7 * (1.0 + wanted.abs()),
                "{kind:?} {x}: {found} {wanted}"
            );
        }
    }
}

#[test]
fn native_and_composed_agree_with_the_gradient() {
    for kind in KINDS {
        assert_routes_agree(2e-6, || {
            let device = Device::flex().autodiff();
            let x = fill([5, 4001], 1, &device, DType::F32) * 6.0;
            let x = x.detach().require_grad();
            let y = gelu(x.clone(), kind);
            let upstream = fill([5, 4001], 2, &device, DType::F32);
            let gradients = (y.clone() * upstream).sum().backward();
            vec![values(y), values(x.grad(&gradients).unwrap())]
        });
    }
}

#[test]
fn the_gradient_is_the_derivative() {
    let device = Device::flex().autodiff();
    let at = numbers(9, 3);
    for kind in KINDS {
        let tensor = |at: &[f64]| Tensor::<1>::from_data(at, (&device, DType::F64));
        let x = tensor(&at).require_grad();
        let gradients = gelu(x.clone(), kind).sum().backward();
        let gradient = values(x.grad(&gradients).unwrap());
        assert_is_gradient(&at, &gradient, 1, |at| {
            gelu(tensor(at), kind).sum().into_scalar()
        });
    }
}

#[test]
fn far_from_zero_it_is_the_identity_or_zero_and_nan_stays() {
    for kind in KINDS {
        let x = Tensor::<1>::from_data([-1e4, -30.0, 30.0, 1e4, f32::NAN], &Device::flex());
        let y = values(gelu(x, kind));
        assert!(y[0].abs() < 1e-30 && y[1].abs() < 1e-30 && y[4].is_nan());
        assert_eq!(y[2..4], [30.0, 1e4]);
    }
}

#[test]
fn transposed_input_keeps_its_places() {
    for dims in [[3, 5], [1, 1]] {
        assert_routes_agree(2e-6, || {
            let device = Device::flex().autodiff();
            let x = fill(dims, 1, &device, DType::F32).require_grad();
            let y = gelu(x.clone().transpose(), GeluKind::Tanh);
            let upstream = fill(dims, 2, &device, DType::F32).transpose();
            let gradients = (y.clone() * upstream).sum().backward();
            vec![values(y), values(x.grad(&gradients).unwrap())]
        });
    }
}

#[test]
fn threads_leave_the_bits_alone() {
    let x = fill([70_001], 1, &Device::flex(), DType::F32);
    let on = |threads| with_threads(threads, || values(gelu(x.clone(), GeluKind::Exact)));
    assert_eq!(on(1), on(2));
}
