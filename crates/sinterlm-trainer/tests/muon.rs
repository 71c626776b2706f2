//! Muon against `torch.optim.Muon`.

use burn::tensor::{Device, Tensor, TensorData};
use sinterlm_kernels::MatmulPrecision;
use sinterlm_testkit::{Golden, Tolerance, assert_close, fixed_fill, fixed_weight, fixture};
use sinterlm_trainer::{Optimizer, OptimizerConfig, OptimizerKind, Update};

/// Newton-Schulz steps magnify rounding along small singular values.
const TOLERANCE: Tolerance = Tolerance {
    relative: 1e-5,
    absolute: 1e-6,
};

#[test]
fn four_steps_equal_pytorch_for_every_shape() {
    let golden = Golden::load(fixture("muon.json"));
    let mut optimizer = Optimizer::new(OptimizerConfig {
        kind: OptimizerKind::Muon,
        muon_lr: 0.02,
        muon_momentum: 0.95,
        muon_weight_decay: 0.1,
        ..OptimizerConfig::default()
    });
    for (name, shape) in [("tall", [12, 8]), ("wide", [8, 12]), ("square", [8, 8])] {
        let tensor =
            |values| Tensor::<2>::from_data(TensorData::new(values, shape), &Device::flex());
        let path = format!("blocks.0.{name}");
        let mut weight = tensor(fixed_weight(name, &shape));
        for step in 1..=4 {
            let gradient = tensor(fixed_fill(&format!("{name}.{step}"), &shape, 1.0));
            let update = Update {
                step,
                lr_factor: 1.0 / step as f64,
                grad_scale: 0.5,
                precision: MatmulPrecision::F32,
            };
            weight = optimizer.update(&path, weight, gradient, &update);
        }
        let weight: Vec<f32> = weight.into_data().try_into_vec().unwrap();
        let state = optimizer.save();
        let momentum = &state[&format!("{path}.momentum")].to_f32();
        for (what, found) in [("weight", &weight), ("momentum", momentum)] {
            let what = format!("{name}.{what}");
            assert_close(found, golden.f64(&what), TOLERANCE, &what);
        }
    }
}
