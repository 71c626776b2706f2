//! Tests of `dropout`.

use burn::tensor::{DType, Device, Tensor};

use crate::{
    Route,
    check::{assert_routes_agree, fill, values, with_threads},
    dropout, with_route,
};

fn mask(len: usize, p: f64, key: u64) -> Vec<f64> {
    values(dropout(Tensor::<1>::ones([len], &Device::flex()), p, key))
}

#[test]
fn both_routes_draw_the_same_mask_forward_and_backward() {
    assert_routes_agree(1e-7, || {
        let device = Device::flex().autodiff();
        let x = fill([3, 7, 2001], 1, &device, DType::F32).require_grad();
        let y = dropout(x.clone(), 0.3, 99);
        let gradients = y.clone().sum().backward();
        vec![values(y), values(x.grad(&gradients).unwrap())]
    });
}

#[test]
fn a_view_is_masked_by_its_own_order() {
    assert_routes_agree(1e-7, || {
        let device = Device::flex().autodiff();
        let x = fill([7, 5], 1, &device, DType::F32).require_grad();
        let y = dropout(x.clone().transpose(), 0.4, 3);
        let upstream = fill([7, 5], 2, &device, DType::F32).transpose();
        let gradients = (y.clone() * upstream).sum().backward();
        vec![values(y), values(x.grad(&gradients).unwrap())]
    });
}

#[test]
fn drops_the_share_asked_for_and_keeps_the_mean() {
    for p in [0.1, 0.5, 0.9] {
        for key in [0, 1, u64::MAX] {
            let n = 200_000;
            let dropped = mask(n, p, key).iter().filter(|&&v| v == 0.0).count();
            let deviation = (dropped as f64 - n as f64 * p) / (n as f64 * p * (1.0 - p)).sqrt();
            assert!(
                deviation.abs() < 4.0,
                "p {p}, key {key}: {deviation} standard deviations"
            );
        }
    }
    let mean = mask(200_000, 0.2, 5).iter().sum::<f64>() / 200_000.0;
    assert!((mean - 1.0).abs() < 0.01);
}

#[test]
fn neighbouring_keys_and_elements_are_independent() {
    let n = 100_000;
    let (a, b) = (mask(n, 0.5, 6), mask(n, 0.5, 7));
    let same = a
        .iter()
        .zip(&b)
        .filter(|(a, b)| (*a > &0.0) == (*b > &0.0))
        .count();
    let runs = a
        .windows(2)
        .filter(|pair| (pair[0] > 0.0) == (pair[1] > 0.0))
        .count();
    for count in [same, runs] {
        assert!(
            (count as f64 / n as f64 - 0.5).abs() < 0.01,
            "{count} of {n} agree"
        );
    }
}

#[test]
fn the_input_is_left_alone_where_it_is_shared() {
    let x = fill([100], 1, &Device::flex(), DType::F32);
    let before = values(x.clone());
    let y = dropout(x.clone(), 0.5, 1);
    assert_eq!(values(x), before);
    assert_ne!(values(y), before);
}

#[test]
fn no_dropout_returns_the_input() {
    let x = fill([100], 1, &Device::flex(), DType::F32);
    assert_eq!(values(dropout(x.clone(), 0.0, 1)), values(x));
}

#[test]
fn other_dtypes_share_the_mask() {
    let zero_at = |dtype| {
        let x = Tensor::<1>::ones([500], (&Device::flex(), dtype));
        values(dropout(x, 0.5, 3))
            .iter()
            .map(|&v| v == 0.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(zero_at(DType::F32), zero_at(DType::F64));
    assert_eq!(zero_at(DType::F32), zero_at(DType::BF16));
}

#[test]
fn threads_leave_the_bits_alone() {
    let on = |threads| with_threads(threads, || mask(40_000, 0.5, 1));
    assert_eq!(on(1), on(2));
}

#[test]
#[should_panic(expected = "it must be in [0, 1)")]
fn rejects_a_probability_of_one() {
    with_route(Route::Composed, || {
        dropout(Tensor::<1>::ones([2], &Device::flex()), 1.0, 0)
    });
}
