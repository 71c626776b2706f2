//! Each rule against its formula, and the grouping.

use super::*;
use burn::tensor::TensorData;
use sinterlm_kernels::MatmulPrecision;
use sinterlm_testkit::{SINGLE_OP_F32, assert_close, fixed_fill};

fn optimizer(kind: OptimizerKind) -> Optimizer {
    let config = OptimizerConfig {
        kind,
        peak_lr: 0.01,
        weight_decay: 0.1,
        muon_weight_decay: 0.2,
        ..OptimizerConfig::default()
    };
    Optimizer::new(config)
}

fn matrix(name: &str, shape: [usize; 2]) -> Tensor<2> {
    let values = fixed_fill(name, &shape, 1.0);
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

const FIRST: Update = Update {
    step: 1,
    lr_factor: 0.5,
    grad_scale: 2.0,
    precision: MatmulPrecision::F32,
};

#[test]
fn lion_moves_each_weight_by_the_rate_and_decays_it() {
    let (weight, grad) = (matrix("w", [3, 4]), matrix("g", [3, 4]));
    let got = values(optimizer(OptimizerKind::Lion).update(
        "a.weight",
        weight.clone(),
        grad.clone(),
        &FIRST,
    ));
    let expected: Vec<f32> = values(weight)
        .iter()
        .zip(values(grad))
        .map(|(w, g)| w * (1.0 - 0.005 * 0.1) - 0.005 * g.signum())
        .collect();
    assert_close(&got, &expected, SINGLE_OP_F32, "lion");
}

#[test]
fn muon_takes_hidden_matrices_and_leaves_the_rest_to_adamw() {
    let mut muon = optimizer(OptimizerKind::Muon);
    for path in [
        "blocks.0.mlp.up.weight",
        "blocks.0.mlp.gate.weight",
        "wte.weight",
    ] {
        muon.update(path, matrix("w", [4, 3]), matrix("g", [4, 3]), &FIRST);
    }
    let vector = Tensor::<1>::zeros([3], &Device::flex());
    for path in ["blocks.0.mlp.up.bias", "blocks.0.attn.q_norm.weight"] {
        muon.update(path, vector.clone(), vector.clone(), &FIRST);
    }
    let names: Vec<String> = muon.save().into_keys().collect();
    assert_eq!(
        names,
        [
            "blocks.0.attn.q_norm.weight.m",
            "blocks.0.attn.q_norm.weight.v",
            "blocks.0.mlp.gate.weight.momentum",
            "blocks.0.mlp.up.bias.m",
            "blocks.0.mlp.up.bias.v",
            "blocks.0.mlp.up.weight.momentum",
            "wte.weight.m",
            "wte.weight.v"
        ]
    );
}

#[test]
fn muon_moves_a_matrix_by_an_orthogonal_step() {
    let (weight, grad) = (matrix("w", [6, 4]), matrix("g", [6, 4]));
    let mut muon = optimizer(OptimizerKind::Muon);
    let moved = muon.update("blocks.0.mlp.up.weight", weight.clone(), grad, &FIRST);
    let lr = 0.02 * 0.5;
    let step = (weight.mul_scalar(1.0 - lr * 0.2) - moved).div_scalar(lr * (6.0f64 / 4.0).sqrt());
    let gram = values(step.clone().transpose().matmul(step)); // near the identity
    for (i, value) in gram.iter().enumerate() {
        let (low, high) = if i % 5 == 0 { (0.4, 1.5) } else { (-0.4, 0.4) };
        assert!((low..high).contains(value), "gram[{i}] = {value}");
    }
}

#[test]
fn adafactor_steps_have_root_mean_square_of_the_rate_at_first() {
    // With beta2 = 0 at step 1 a rank-one gradient is divided by its own size: steps of ±lr.
    let column = matrix("c", [5, 1]);
    let row = matrix("r", [1, 3]);
    let grad = column.matmul(row);
    let weight = Tensor::<2>::zeros([5, 3], &Device::flex());
    let moved =
        optimizer(OptimizerKind::Adafactor).update("a.weight", weight, grad.clone(), &FIRST);
    let expected: Vec<f32> = values(grad).iter().map(|g| -0.005 * g.signum()).collect();
    assert_close(&values(moved), &expected, SINGLE_OP_F32, "adafactor");
}

#[test]
fn vectors_are_not_decayed() {
    let weight = Tensor::<1>::ones([3], &Device::flex());
    let grad = weight.zeros_like();
    for kind in [
        OptimizerKind::AdamW,
        OptimizerKind::Lion,
        OptimizerKind::Adafactor,
    ] {
        let moved = optimizer(kind).update("norm.weight", weight.clone(), grad.clone(), &FIRST);
        assert_eq!(values(moved), [1.0; 3], "{kind:?}");
    }
}

#[test]
fn a_loaded_state_continues_as_if_never_saved() {
    let shape = [36, 40];
    for moments in [Moments::F32, Moments::Bf16, Moments::Int8] {
        for kind in [
            OptimizerKind::AdamW,
            OptimizerKind::Muon,
            OptimizerKind::Lion,
            OptimizerKind::Adafactor,
        ] {
            let new = || {
                Optimizer::new(OptimizerConfig {
                    moments,
                    ..optimizer(kind).config
                })
            };
            let path = "blocks.0.mlp.up.weight";
            let mut original = new();
            let weight = original.update(path, matrix("w", shape), matrix("g", shape), &FIRST);
            let mut restored = new();
            restored.load(original.save(), &Device::flex()).unwrap();
            assert_eq!(original.state_bytes(), restored.state_bytes());
            let second = Update { step: 2, ..FIRST };
            let a = original.update(path, weight.clone(), matrix("h", shape), &second);
            let b = restored.update(path, weight, matrix("h", shape), &second);
            assert_eq!(values(a), values(b), "{kind:?}, {moments:?}");
            assert_eq!(original.save(), restored.save(), "{kind:?}, {moments:?}");
        }
    }
}

#[test]
fn state_takes_the_bytes_that_its_format_says() {
    for (moments, kind, expected) in [
        (Moments::F32, OptimizerKind::AdamW, 2 * 4 * 4096),
        (Moments::Bf16, OptimizerKind::AdamW, 2 * 2 * 4096),
        (Moments::Int8, OptimizerKind::AdamW, 2 * (4096 + 64)),
        (Moments::Int8, OptimizerKind::Lion, 4096 + 64),
    ] {
        let config = OptimizerConfig {
            moments,
            ..optimizer(kind).config
        };
        let mut optimizer = Optimizer::new(config);
        let (weight, grad) = (matrix("w", [64, 64]), matrix("g", [64, 64]));
        optimizer.update("a.weight", weight, grad, &FIRST);
        assert_eq!(optimizer.state_bytes(), expected, "{moments:?}");
        // A small tensor keeps f32.
        let before = optimizer.state_bytes();
        let bias = Tensor::<1>::ones([64], &Device::flex());
        optimizer.update("a.bias", bias.clone(), bias, &FIRST);
        let each = if kind == OptimizerKind::Lion { 4 } else { 8 };
        assert_eq!(optimizer.state_bytes() - before, 64 * each);
    }
}
