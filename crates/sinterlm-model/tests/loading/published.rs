//! Weights that others trained, where they are there.

use std::path::Path;

use burn::tensor::Device;
use sinterlm_kernels::{MatmulPrecision, linear};
use sinterlm_model::{
    CausalLm, ForwardCtx, LoadOptions, TokenBatch, load_model, load_model_with, named_values,
};
use sinterlm_testkit::{Golden, WHOLE_MODEL_F32, assert_close, fixture, test_data};

/// Really trained weights in the legacy format of llama2.c; the stored continuation of the start
/// token is that of llama2.c itself and of a re-implementation in f64.
#[test]
fn a_trained_llama2c_file_continues_as_llama2c_does() {
    let Some(path) = test_data("weights_tiny_llama/aidreams260K.bin") else {
        return;
    };
    let device = Device::flex();
    let model = load_model(&path, &device).unwrap();
    let text = std::fs::read_to_string(path.with_file_name("aidreams260K_greedy.json")).unwrap();
    let stored: serde_json::Value = serde_json::from_str(&text).unwrap();
    let numbers = |key: &str| -> Vec<f64> { serde_json::from_value(stored[key].clone()).unwrap() };
    let expected: Vec<u32> = numbers("greedy_ids").iter().map(|id| *id as u32).collect();

    let mut cache = model.new_cache(1, 128);
    let mut found = vec![1];
    while found.len() < 128 {
        let last = [found[found.len() - 1]];
        let tokens = TokenBatch::ragged(&[(cache.len(), &last)], &device);
        let logits = model.last_logits(&tokens, &ForwardCtx::default(), Some(&mut cache));
        let logits: Vec<f32> = logits.into_data().try_into_vec().unwrap();
        if found.len() == 1 {
            assert_close(
                &logits,
                &numbers("logits_after_bos_float64"),
                WHOLE_MODEL_F32,
                "logits",
            );
        }
        let order = |a: &usize, b: &usize| logits[*a].total_cmp(&logits[*b]);
        found.push((0..logits.len()).max_by(order).unwrap() as u32);
    }
    assert_eq!(found[found.len() - expected.len()..], expected);
}

/// Published weights, dequantised: the numbers are those of `transformers` on the same file, see
/// `fixtures/gen_smollm2.py`.
#[test]
fn the_published_smollm2_gives_the_logits_of_transformers() {
    let Some(path) = std::env::var_os("SINTERLM_SMOLLM2") else {
        eprintln!("skipped: set SINTERLM_SMOLLM2 to the GGUF of SmolLM2-135M-Instruct in Q4_1");
        return;
    };
    let golden = Golden::load(fixture("smollm2.json"));
    let device = Device::flex();
    let (model, report) =
        load_model_with(Path::new(&path), &device, &LoadOptions::default()).unwrap();
    assert_eq!(model.config().parameters().total, 134_515_008);
    assert_eq!(report.loaded, named_values(&model).len());

    let ids: Vec<u32> = golden.i64("ids").iter().map(|id| *id as u32).collect();
    let tokens = TokenBatch::dense(&ids, 1, &device);
    let hidden = model.hidden(&tokens, &ForwardCtx::default(), None);
    let logits = linear(
        hidden,
        model.head().linear.weight.val(),
        None,
        MatmulPrecision::F32,
    );
    let logits: Vec<f32> = logits.into_data().try_into_vec().unwrap();
    let vocab = logits.len() / ids.len();
    for (at, expected) in golden
        .i64("positions")
        .iter()
        .zip(golden.f64("logits").chunks(8))
    {
        let found = &logits[*at as usize * vocab..][..vocab];
        let places = golden.i64("places");
        let found: Vec<f32> = places.iter().map(|place| found[*place as usize]).collect();
        assert_close(&found, expected, WHOLE_MODEL_F32, &format!("position {at}"));
    }
}
