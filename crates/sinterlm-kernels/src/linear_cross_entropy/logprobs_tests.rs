//! Tests of the backward pass of `linear_logprobs`.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::*;
use crate::{
    check::{
        assert_close, assert_is_gradient, assert_routes_agree, fill, numbers, values, with_threads,
    },
    with_route,
};

/// Log-probabilities and both gradients for one upstream gradient a row.
fn run(
    [n, vocab, d_model]: [usize; 3],
    upstream: &[f64],
    dtype: DType,
    options: &CrossEntropyOptions,
) -> Vec<Vec<f64>> {
    let device = Device::flex().autodiff();
    let leaf = |rows, seed| {
        let values = fill([rows, d_model], seed, &device, dtype) * 2.0;
        values.detach().require_grad()
    };
    let (hidden, weight) = (leaf(n, 1), leaf(vocab, 2));
    let valid = options.valid_vocab(vocab) as i64;
    let targets = Tensor::<1, Int>::arange(0..n as i64, &device) % valid;
    let logprobs = linear_logprobs(hidden.clone(), weight.clone(), targets, options);
    let wide = logprobs.dtype();
    let upstream = TensorData::new(upstream.to_vec(), [n]);
    let upstream = Tensor::<1>::from_data(upstream, (&device, wide));
    let gradients = (logprobs.clone() * upstream).sum().backward();
    vec![
        values(logprobs),
        values(hidden.grad(&gradients).unwrap()),
        values(weight.grad(&gradients).unwrap()),
    ]
}

fn in_chunks_of(chunk_rows: usize) -> CrossEntropyOptions {
    CrossEntropyOptions {
        chunk_rows: Some(chunk_rows),
        ..Default::default()
    }
}

#[test]
fn native_and_composed_agree_with_both_gradients() {
    let mut upstream = numbers(11, 3);
    upstream[4] = 0.0;
    for options in [CrossEntropyOptions::default(), in_chunks_of(3)] {
        assert_routes_agree(1e-5, || run([11, 37, 6], &upstream, DType::F32, &options));
    }
    let padded = CrossEntropyOptions {
        valid_vocab: Some(29),
        ..in_chunks_of(4)
    };
    assert_routes_agree(1e-5, || run([11, 37, 6], &upstream, DType::F32, &padded));
    assert_routes_agree(1e-5, || {
        run([1, 5, 1], &[0.7], DType::F32, &in_chunks_of(9))
    });
}

#[test]
fn gradients_are_the_derivatives() {
    let device = Device::flex().autodiff();
    let ([n, vocab, d_model], options) = ([5, 9, 4], in_chunks_of(2));
    let upstream = numbers(n, 7);
    let found = run([n, vocab, d_model], &upstream, DType::F64, &options);
    let loss = |hidden: &[f64], weight: &[f64]| {
        let tensor = |at: &[f64], rows| {
            let data = TensorData::new(at.to_vec(), [rows, d_model]);
            Tensor::<2>::from_data(data, (&device, DType::F64))
        };
        let targets = Tensor::<1, Int>::arange(0..n as i64, &device);
        let (hidden, weight) = (tensor(hidden, n), tensor(weight, vocab));
        let logprobs = values(linear_logprobs(hidden, weight, targets, &options));
        logprobs.iter().zip(&upstream).map(|(l, g)| l * g).sum()
    };
    let doubled = |rows, seed| {
        let values = numbers(rows * d_model, seed);
        values.iter().map(|value| 2.0 * value).collect::<Vec<_>>()
    };
    let (hidden, weight) = (doubled(n, 1), doubled(vocab, 2));
    assert_is_gradient(&hidden, &found[1], 1, |at| loss(at, &weight));
    assert_is_gradient(&weight, &found[2], 1, |at| loss(&hidden, at));
}

#[test]
fn the_gradient_is_that_of_a_cross_entropy_with_negated_weights() {
    let device = Device::flex().autodiff();
    let upstream = numbers(8, 3);
    let found = run([8, 20, 6], &upstream, DType::F32, &in_chunks_of(8));
    let leaf = |rows, seed| {
        let values = fill([rows, 6], seed, &device, DType::F32) * 2.0;
        values.detach().require_grad()
    };
    let (hidden, weight) = (leaf(8, 1), leaf(20, 2));
    let negated = upstream.iter().map(|g| -g).collect::<Vec<_>>();
    let loss = linear_cross_entropy(
        hidden.clone(),
        weight.clone(),
        Tensor::arange(0..8, &device),
        Tensor::from_data(&negated[..], &device),
        &in_chunks_of(8),
    );
    let gradients = loss.backward();
    for (leaf, found) in [(hidden, &found[1]), (weight, &found[2])] {
        assert_close(
            "gradient",
            found,
            &values(leaf.grad(&gradients).unwrap()),
            1e-6,
        );
    }
}

#[test]
fn a_row_whose_upstream_gradient_is_zero_gets_none() {
    for route in [Route::Native, Route::Composed] {
        with_route(route, || {
            let all_masked = run([4, 9, 3], &[0.0; 4], DType::F32, &in_chunks_of(2));
            assert!(all_masked[1..].iter().flatten().all(|&g| g == 0.0));
            let one_masked = run(
                [4, 9, 3],
                &[1.0, 0.0, 2.0, -1.0],
                DType::F32,
                &in_chunks_of(2),
            );
            assert!(one_masked[1][3..6].iter().all(|&g| g == 0.0));
            assert!(one_masked[1][6..].iter().all(|&g| g != 0.0));
        });
    }
}

#[test]
fn a_frozen_operand_gets_no_gradient_and_leaves_the_other() {
    for route in [Route::Native, Route::Composed] {
        with_route(route, || {
            let device = Device::flex().autodiff();
            let hidden = fill([4, 3], 1, &device, DType::F32).require_grad();
            let weight = fill([9, 3], 2, &device, DType::F32);
            let targets = Tensor::arange(0..4, &device);
            let of = |weight| {
                let (hidden, targets) = (hidden.clone(), targets.clone());
                let logprobs = linear_logprobs(hidden.clone(), weight, targets, &in_chunks_of(2));
                let gradients = logprobs.sum().backward();
                values(hidden.grad(&gradients).unwrap())
            };
            let frozen = of(weight.clone().without_autodiff());
            assert_close("dh", &frozen, &of(weight.require_grad()), 1e-6);
        });
    }
}

#[test]
fn views_keep_their_places() {
    assert_routes_agree(1e-5, || {
        let device = Device::flex().autodiff();
        let hidden = fill([3, 7], 1, &device, DType::F32).require_grad();
        let weight = fill([3, 20], 2, &device, DType::F32).require_grad();
        let logprobs = linear_logprobs(
            hidden.clone().transpose(),
            weight.clone().transpose().narrow(0, 5, 9),
            Tensor::from_data([0, 8, 3, 3, 1, 2, 5], &device),
            &in_chunks_of(3),
        );
        let gradients = logprobs.clone().sum().backward();
        vec![
            values(logprobs),
            values(hidden.grad(&gradients).unwrap()),
            values(weight.grad(&gradients).unwrap()),
        ]
    });
}

#[test]
fn threads_leave_the_bits_alone() {
    let upstream = numbers(150, 5);
    let on = |threads| {
        with_threads(threads, || {
            run([150, 1000, 64], &upstream, DType::F32, &in_chunks_of(64))
        })
    };
    assert_eq!(on(1), on(2));
}
