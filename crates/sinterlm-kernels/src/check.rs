//! What the tests of this crate share: fixed inputs, comparison of the two routes, finite
//! differences.

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::{Route, with_route};

/// Numbers in [-1, 1) that look random, a function of `seed` alone.
pub(crate) fn numbers(len: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(2) + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1u32 << 30) - 1.0
    };
    // The first draws of neighbouring seeds are alike.
    (0..len + 8).map(|_| next()).skip(8).collect()
}

/// A tensor of [`numbers`].
pub(crate) fn fill<const D: usize>(
    dims: [usize; D],
    seed: u64,
    device: &Device,
    dtype: DType,
) -> Tensor<D> {
    let values = numbers(dims.iter().product(), seed);
    Tensor::from_data(TensorData::new(values, dims), (device, dtype))
}

/// The elements of `tensor`.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Runs `op` on both routes and compares each list of numbers it returns with a tolerance relative
/// to the list's largest element.
pub(crate) fn assert_routes_agree(tolerance: f64, op: impl Fn() -> Vec<Vec<f64>>) {
    let native = with_route(Route::Native, &op);
    let composed = with_route(Route::Composed, &op);
    assert_eq!(native.len(), composed.len());
    for (list, (native, composed)) in native.iter().zip(&composed).enumerate() {
        assert_close(&format!("list {list}"), native, composed, tolerance);
    }
}

/// Equal lengths and elements, with a tolerance relative to the largest element of `expected`.
pub(crate) fn assert_close(name: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{name}: lengths differ");
    let scale = expected
        .iter()
        .fold(1e-30, |scale: f64, value| scale.max(value.abs()));
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= tolerance * scale,
            "{name}, element {at}: {found} is not {expected}, scale {scale}"
        );
    }
}

/// Compares a gradient with central differences of `loss` around `at`, at every `stride`th element.
pub(crate) fn assert_is_gradient(
    at: &[f64],
    gradient: &[f64],
    stride: usize,
    loss: impl Fn(&[f64]) -> f64,
) {
    const STEP: f64 = 1e-5;
    for i in (0..at.len()).step_by(stride) {
        let moved = |by: f64| {
            let mut values = at.to_vec();
            values[i] += by;
            loss(&values)
        };
        let slope = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
        assert!(
            (gradient[i] - slope).abs() < 1e-7 * (1.0 + slope.abs()),
            "gradient {i} is {}, the difference quotient {slope}",
            gradient[i]
        );
    }
}

/// The result of `op` on a pool of that many threads.
pub(crate) fn with_threads<R: Send>(threads: usize, op: impl FnOnce() -> R + Send) -> R {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap();
    pool.install(op)
}

/// For each choice of trained operands: they get the gradients, bit for bit, that they get where all
/// are trained, and the frozen ones none. `op` shapes the flat operands as it needs them.
pub(crate) fn assert_frozen_operands_change_nothing<const N: usize>(
    lengths: [usize; N],
    op: impl Fn([Tensor<1>; N]) -> Tensor<1>,
) {
    let device = Device::flex().autodiff();
    let gradients = |trained: usize| {
        let mut seed = 0;
        let operands = lengths.map(|len| {
            let trained = trained >> seed & 1 == 1;
            seed += 1;
            fill([len], seed as u64, &device, DType::F32).set_require_grad(trained)
        });
        let y = op(operands.clone());
        let upstream = fill(y.dims(), 99, &device, DType::F32);
        let mut tape = (y * upstream).sum().backward();
        operands.map(|operand| operand.grad_remove(&mut tape).map(values))
    };
    let all = gradients((1 << N) - 1);
    for trained in 1..1 << N {
        for (at, (found, full)) in gradients(trained).iter().zip(&all).enumerate() {
            let expected = full.as_ref().filter(|_| trained >> at & 1 == 1);
            assert_eq!(found.as_ref(), expected, "operand {at} of {trained:b}");
        }
    }
}
