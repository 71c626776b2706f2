//! Tests of `linear_cross_entropy` and `linear_logprobs`.

use burn::tensor::{DType, Device, Int, Tensor, TensorData, activation::log_softmax};

use super::*;
use crate::{
    check::{
        assert_close, assert_is_gradient, assert_routes_agree, fill, numbers, values, with_threads,
    },
    with_route,
};

const VOCAB: usize = 37;
const D_MODEL: usize = 6;

/// Inputs of 11 rows, two of them ignored with targets that do not exist.
struct Inputs {
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    token_weights: Tensor<1>,
}

fn inputs(device: &Device, dtype: DType) -> Inputs {
    let targets = [3, 0, -100, 36, 7, 7, 999, 12, 20, 1, 5];
    let weights = [1.0, 0.5, 0.0, 1.0, 2.0, 1.0, 0.0, -1.0, 1.0, 1.0, 0.25];
    let operand = |rows, seed| {
        let values = fill([rows, D_MODEL], seed, device, dtype) * 2.0;
        let values = values.detach();
        if device.is_autodiff() {
            values.require_grad()
        } else {
            values
        }
    };
    Inputs {
        hidden: operand(11, 1),
        weight: operand(VOCAB, 2),
        targets: Tensor::from_data(targets, device),
        token_weights: Tensor::from_data(weights, (device, dtype)),
    }
}

/// Loss and both gradients.
fn run(inputs: &Inputs, options: &CrossEntropyOptions) -> Vec<Vec<f64>> {
    let loss = linear_cross_entropy(
        inputs.hidden.clone(),
        inputs.weight.clone(),
        inputs.targets.clone(),
        inputs.token_weights.clone(),
        options,
    );
    let gradients = (loss.clone() * 0.5).sum().backward();
    vec![
        values(loss),
        values(inputs.hidden.grad(&gradients).unwrap()),
        values(inputs.weight.grad(&gradients).unwrap()),
    ]
}

fn every_option() -> Vec<CrossEntropyOptions> {
    let plain = CrossEntropyOptions::default();
    let all = CrossEntropyOptions {
        label_smoothing: 0.1,
        z_loss: 0.01,
        valid_vocab: Some(VOCAB),
        chunk_rows: Some(4),
        ..CrossEntropyOptions::default()
    };
    vec![
        plain,
        CrossEntropyOptions {
            label_smoothing: 0.1,
            ..plain
        },
        CrossEntropyOptions {
            z_loss: 0.01,
            ..plain
        },
        CrossEntropyOptions {
            chunk_rows: Some(3),
            ..plain
        },
        CrossEntropyOptions {
            softcap: Some(1.5),
            ..plain
        },
        all,
        CrossEntropyOptions {
            softcap: Some(0.8),
            ..all
        },
    ]
}

#[test]
fn native_and_composed_agree_with_all_gradients() {
    let device = Device::flex().autodiff();
    for options in every_option() {
        assert_routes_agree(1e-5, || run(&inputs(&device, DType::F32), &options));
    }
}

#[test]
fn the_loss_is_that_of_a_full_log_softmax() {
    let device = Device::flex();
    let Inputs { hidden, weight, .. } = inputs(&device, DType::F32);
    let targets = Tensor::<1, Int>::arange(0..11, &device);
    let full = log_softmax(hidden.clone().matmul(weight.clone().transpose()), 1);
    let logprobs = values(
        full.gather(1, targets.clone().unsqueeze_dim(1))
            .reshape([11]),
    );
    let ones = Tensor::ones([11], &device);
    let options = CrossEntropyOptions {
        chunk_rows: Some(4),
        ..Default::default()
    };
    for route in [Route::Native, Route::Composed] {
        with_route(route, || {
            let (h, w, t) = (hidden.clone(), weight.clone(), targets.clone());
            let found = values(linear_logprobs(h.clone(), w.clone(), t.clone(), &options));
            assert_close("logprobs", &found, &logprobs, 1e-6);
            let loss = values(linear_cross_entropy(h, w, t, ones.clone(), &options));
            assert_close("loss", &loss, &[-logprobs.iter().sum::<f64>()], 1e-6);
        });
    }
}

#[test]
fn gradients_are_the_derivatives() {
    let device = Device::flex().autodiff();
    for options in every_option() {
        let inputs = inputs(&device, DType::F64);
        let found = run(&inputs, &options);
        let loss = |hidden: Tensor<2>, weight: Tensor<2>| {
            let (targets, token_weights) = (inputs.targets.clone(), inputs.token_weights.clone());
            0.5 * linear_cross_entropy(hidden, weight, targets, token_weights, &options)
                .into_scalar::<f64>()
        };
        let tensor = |at: &[f64], rows: usize| {
            let data = TensorData::new(at.to_vec(), [rows, D_MODEL]);
            Tensor::<2>::from_data(data, (&device, DType::F64))
        };
        let (hidden, weight) = (values(inputs.hidden.clone()), values(inputs.weight.clone()));
        assert_is_gradient(&hidden, &found[1], 5, |at| {
            loss(tensor(at, 11), tensor(&weight, VOCAB))
        });
        assert_is_gradient(&weight, &found[2], 13, |at| {
            loss(tensor(&hidden, 11), tensor(at, VOCAB))
        });
    }
}

#[test]
fn a_padded_vocabulary_changes_nothing_but_the_shape() {
    let device = Device::flex().autodiff();
    let plain = inputs(&device, DType::F32);
    let tail = Tensor::cat(
        vec![
            plain.weight.clone().detach(),
            Tensor::full([27, D_MODEL], 50.0, &device),
        ],
        0,
    );
    for route in [Route::Native, Route::Composed] {
        with_route(route, || {
            let padded = Inputs {
                weight: tail.clone().detach().require_grad(),
                hidden: plain.hidden.clone(),
                targets: plain.targets.clone(),
                token_weights: plain.token_weights.clone(),
            };
            let options = CrossEntropyOptions {
                label_smoothing: 0.1,
                ..Default::default()
            };
            let expected = run(&plain, &options);
            let options = CrossEntropyOptions {
                valid_vocab: Some(VOCAB),
                ..options
            };
            let mut found = run(&padded, &options);
            assert!(
                found[2]
                    .split_off(VOCAB * D_MODEL)
                    .iter()
                    .all(|&g| g == 0.0)
            );
            for (found, expected) in found.iter().zip(&expected) {
                assert_close("padded", found, expected, 1e-6);
            }
        });
    }
}

#[test]
fn rows_that_are_all_ignored_give_zero_and_zero_gradients() {
    let device = Device::flex().autodiff();
    for route in [Route::Native, Route::Composed] {
        with_route(route, || {
            let mut inputs = inputs(&device, DType::F32);
            inputs.token_weights = Tensor::zeros([11], &device);
            let found = run(&inputs, &CrossEntropyOptions::default());
            assert_eq!(found[0], [0.0]);
            assert!(found[1..].iter().flatten().all(|&g| g == 0.0));
            assert_eq!(
                (found[1].len(), found[2].len()),
                (11 * D_MODEL, VOCAB * D_MODEL)
            );
        });
    }
}

#[test]
fn one_row_and_views_keep_their_places() {
    let device = Device::flex().autodiff();
    let leaf = |dims: [usize; 2], seed| fill(dims, seed, &device, DType::F32).require_grad();
    let gradients_of = |hidden: &Tensor<2>, weight: &Tensor<2>, n| {
        let loss = linear_cross_entropy(
            hidden.clone().transpose(),
            weight.clone().transpose().narrow(0, 5, 9),
            Tensor::arange(0..n as i64, &device),
            Tensor::ones([2 * n], &device).narrow(0, n, n),
            &CrossEntropyOptions::default(),
        );
        let gradients = loss.clone().backward();
        vec![
            values(loss),
            values(hidden.grad(&gradients).unwrap()),
            values(weight.grad(&gradients).unwrap()),
        ]
    };
    for n in [1, 7] {
        assert_routes_agree(1e-5, || {
            gradients_of(&leaf([3, n], 1), &leaf([3, 20], 2), n)
        });
    }
}

#[test]
fn an_ignored_row_gets_no_gradient() {
    let device = Device::flex().autodiff();
    let found = run(
        &inputs(&device, DType::F32),
        &CrossEntropyOptions::default(),
    );
    assert!(found[1][2 * D_MODEL..3 * D_MODEL].iter().all(|&g| g == 0.0));
    assert!(found[1][3 * D_MODEL..4 * D_MODEL].iter().any(|&g| g != 0.0));
}

#[test]
fn a_frozen_operand_gets_no_gradient_and_leaves_the_other() {
    let device = Device::flex().autodiff();
    let inputs = inputs(&device, DType::F32);
    let options = CrossEntropyOptions::default();
    let both = run(&inputs, &options);
    let loss = linear_cross_entropy(
        inputs.hidden.clone(),
        inputs.weight.clone().without_autodiff(),
        inputs.targets.clone(),
        inputs.token_weights.clone(),
        &options,
    );
    let gradients = (loss * 0.5).sum().backward();
    assert!(inputs.weight.grad(&gradients).is_none());
    assert_eq!(values(inputs.hidden.grad(&gradients).unwrap()), both[1]);
}

#[test]
fn large_logits_stay_finite() {
    let device = Device::flex();
    for route in [Route::Native, Route::Composed] {
        with_route(route, || {
            let hidden = Tensor::<2>::from_data([[1000.0f32, -1000.0]], &device);
            let weight = Tensor::<2>::from_data([[1.0f32, 0.0], [0.0, 1.0]], &device);
            let targets = Tensor::<1, Int>::from_data([1], &device);
            let loss = linear_cross_entropy(
                hidden,
                weight,
                targets,
                Tensor::ones([1], &device),
                &CrossEntropyOptions::default(),
            );
            assert_close("loss", &values(loss), &[2000.0], 1e-6);
        });
    }
}

#[test]
fn nan_reaches_the_loss() {
    let device = Device::flex();
    let mut hidden = numbers(4, 1);
    hidden[1] = f64::NAN;
    let hidden = Tensor::<2>::from_data(TensorData::new(hidden, [2, 2]), (&device, DType::F32));
    let loss = linear_cross_entropy(
        hidden,
        fill([50, 2], 2, &device, DType::F32),
        Tensor::from_data([1, 2], &device),
        Tensor::ones([2], &device),
        &CrossEntropyOptions::default(),
    );
    assert!(values(loss)[0].is_nan());
}

#[test]
#[should_panic(expected = "target 999 of row 6 is outside the vocabulary")]
fn a_target_outside_the_vocabulary_panics_natively() {
    let device = Device::flex();
    let inputs = inputs(&device, DType::F32);
    let weights = [1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
    let _ = linear_cross_entropy(
        inputs.hidden,
        inputs.weight,
        inputs.targets,
        Tensor::from_data(weights, &device),
        &CrossEntropyOptions::default(),
    );
}

#[test]
fn a_target_outside_the_vocabulary_is_nan_when_composed() {
    let device = Device::flex();
    let Inputs {
        hidden,
        weight,
        targets,
        ..
    } = inputs(&device, DType::F32);
    with_route(Route::Composed, || {
        let loss = linear_cross_entropy(
            hidden,
            weight,
            targets,
            Tensor::ones([11], &device),
            &CrossEntropyOptions::default(),
        );
        assert!(values(loss)[0].is_nan());
    });
}

#[test]
fn bf16_operands_are_summed_in_f32() {
    let device = Device::flex().autodiff();
    let exact = run(
        &inputs(&device, DType::F32),
        &CrossEntropyOptions::default(),
    );
    let found = run(
        &inputs(&device, DType::BF16),
        &CrossEntropyOptions::default(),
    );
    for (found, exact) in found.iter().zip(&exact) {
        assert_close("bf16", found, exact, 0.03);
    }
}

#[test]
fn products_of_narrow_numbers_stay_near_f32_on_both_routes() {
    let device = Device::flex().autodiff();
    let with = |precision| {
        let options = CrossEntropyOptions {
            precision,
            ..Default::default()
        };
        run(&inputs(&device, DType::F32), &options)
    };
    let exact = with(MatmulPrecision::F32);
    for (precision, tolerance) in [(MatmulPrecision::Bf16, 0.02), (MatmulPrecision::F16, 0.003)] {
        assert_routes_agree(tolerance / 2.0, || with(precision));
        let narrow = with(precision);
        assert!(narrow != exact, "{precision:?} was used");
        for (narrow, exact) in narrow.iter().zip(&exact) {
            assert_close(&format!("{precision:?}"), narrow, exact, tolerance);
        }
    }
}

#[test]
fn small_probabilities_keep_their_gradient_in_f16() {
    let device = Device::flex().autodiff();
    let gradient = |precision| {
        let hidden = Tensor::<2>::ones([1, 1], &device);
        // e^13.8 in the target's place: the others have the probability 1e-6, which half precision
        // holds with four bits.
        let mut column = vec![0f32; 500];
        column[0] = 13.8;
        let weight = Tensor::<1>::from_data(column.as_slice(), &device);
        let weight = weight.reshape([500, 1]).require_grad();
        let options = CrossEntropyOptions {
            precision,
            ..CrossEntropyOptions::default()
        };
        let (targets, token_weights) = (Tensor::zeros([1], &device), Tensor::ones([1], &device));
        let loss = linear_cross_entropy(hidden, weight.clone(), targets, token_weights, &options);
        values(weight.grad(&loss.backward()).unwrap())[7]
    };
    let exact = gradient(MatmulPrecision::F32);
    for route in [Route::Native, Route::Composed] {
        let found = with_route(route, || gradient(MatmulPrecision::F16));
        // Rounding the target's weight to half precision moves all probabilities by up to 0.4 %.
        assert!((found / exact - 1.0).abs() < 5e-3, "{found}, not {exact}");
    }
}

#[test]
fn threads_leave_the_bits_alone() {
    let device = Device::flex().autodiff();
    let on = |threads| {
        with_threads(threads, || {
            let n = 150;
            let inputs = Inputs {
                hidden: fill([n, 64], 1, &device, DType::F32).require_grad(),
                weight: fill([1000, 64], 2, &device, DType::F32).require_grad(),
                targets: Tensor::arange(0..n as i64, &device),
                token_weights: Tensor::ones([n], &device),
            };
            let chunk_rows = Some(64);
            run(
                &inputs,
                &CrossEntropyOptions {
                    chunk_rows,
                    ..Default::default()
                },
            )
        })
    };
    assert_eq!(on(1), on(2));
}

#[test]
fn rows_are_divided_into_chunks_of_one_size() {
    let options = CrossEntropyOptions::default();
    assert_eq!(options.chunk_rows(1024, 50257), 512);
    assert_eq!(options.chunk_rows(1025, 50257), 342);
    assert_eq!(options.chunk_rows(10, 50257), 10);
    assert_eq!(options.chunk_rows(0, 50257), 1);
}

#[test]
fn an_operand_that_is_frozen_changes_nothing_for_the_other() {
    let device = Device::flex().autodiff();
    for route in [Route::Native, Route::Composed] {
        let gradients = |trained: [bool; 2]| {
            let hidden = fill([5, 8], 1, &device, DType::F32).set_require_grad(trained[0]);
            let weight = fill([11, 8], 2, &device, DType::F32).set_require_grad(trained[1]);
            let targets = Tensor::<1, Int>::from_data([1, 2, 3, 4, 10], &device);
            let token_weights = Tensor::<1>::ones([5], &device);
            let options = CrossEntropyOptions::default();
            let (h, w) = (hidden.clone(), weight.clone());
            let loss = with_route(route, || {
                linear_cross_entropy(h, w, targets, token_weights, &options)
            });
            let mut tape = loss.backward();
            [hidden, weight].map(|operand| operand.grad_remove(&mut tape).map(values))
        };
        let [dh, dw] = gradients([true, true]);
        assert!(dh.is_some() && dw.is_some());
        assert_eq!(gradients([true, false]), [dh, None], "{route:?}");
        assert_eq!(gradients([false, true]), [None, dw], "{route:?}");
    }
}
