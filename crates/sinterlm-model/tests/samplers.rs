//! Each sampler's distribution against the logits processors of transformers.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use serde::Deserialize;
use sinterlm_model::{Context, SampleConfig, Sampler};

#[derive(Deserialize)]
struct Fixture {
    vocab: usize,
    text: Vec<u32>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    config: serde_json::Map<String, serde_json::Value>,
    row: usize,
    left: Vec<(usize, f64)>,
}

#[test]
fn every_sampler_leaves_what_transformers_leaves() {
    let fixture: Fixture = serde_json::from_str(include_str!("../fixtures/samplers.json")).unwrap();
    let context = Context {
        ids: &fixture.text,
        prompt_len: 4,
    };
    assert!(fixture.cases.len() > 40);
    for mut case in fixture.cases {
        let name = format!("{:?}, row {}", case.config, case.row);
        let bias = case.config.remove("logit_bias").unwrap_or_default();
        let bias: Vec<(u32, f32)> = serde_json::from_value(bias).unwrap_or_default();
        let plain = serde_json::to_value(SampleConfig::plain(1)).unwrap();
        let mut config = plain.as_object().unwrap().clone();
        config.extend(case.config);
        let config: SampleConfig = serde_json::from_value(config.into()).unwrap();
        let logits: Vec<f32> = (0..fixture.vocab)
            .map(|i| {
                (6.0 * (0.37 * (i * i) as f64 + case.row as f64).sin() + 0.01 * i as f64) as f32
            })
            .collect();
        let p = Sampler::new(&config, &bias).probabilities(&logits, context);
        let mut expected = vec![0.0; fixture.vocab];
        for (id, p) in case.left {
            expected[id] = p;
        }
        for (id, (&found, expected)) in p.iter().zip(expected).enumerate() {
            assert_eq!(found > 0.0, expected > 0.0, "{name}: id {id}");
            let difference = (f64::from(found) - expected).abs();
            assert!(
                difference < 2e-6,
                "{name}: id {id} has {found}, not {expected}"
            );
        }
    }
}
