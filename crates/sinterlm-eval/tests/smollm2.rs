//! The published SmolLM2-135M-Instruct from its GGUF file to texts and perplexity, against llama.cpp and
//! `transformers` on our exports of it. What they found is in a fixture; ours is computed here.

#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::Deserialize;
use sinterlm_config::Seed;
use sinterlm_data::{Batch, ChatTemplate, TextMarks, Tokenizer};
use sinterlm_eval::loss_over;
use sinterlm_formats::{Dtype, GgufFile};
use sinterlm_model::{
    ForwardCtx, Gpt, Request, SampleConfig, generate, load_model, save_gguf, save_model,
};

/// `fixtures/smollm2_texts.json`; its script tells what the fields are.
#[derive(Deserialize)]
struct Fixture {
    prompts: Vec<Prompt>,
    perplexity: Scored,
}

#[derive(Deserialize)]
struct Prompt {
    text: String,
    special: bool,
    ids: Vec<u32>,
    llama_cpp: Vec<u32>,
    transformers: Vec<u32>,
    leads: Vec<f32>,
}

#[derive(Deserialize)]
struct Scored {
    bytes: usize,
    window: usize,
    ids: Vec<u32>,
    tokens: usize,
    nats: f64,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../fixtures/smollm2_texts.json")).unwrap()
}

/// Model and tokenizer, or none where the file is not there.
fn smollm2() -> Option<(Gpt, Tokenizer, PathBuf)> {
    let Some(path) = std::env::var_os("SINTERLM_SMOLLM2") else {
        eprintln!("skipped: set SINTERLM_SMOLLM2 to the GGUF of SmolLM2-135M-Instruct in Q4_1");
        return None;
    };
    let path = PathBuf::from(path);
    let model = load_model(&path, &Device::flex()).unwrap();
    Some((model, Tokenizer::from_file(&path).unwrap(), path))
}

#[test]
fn ten_prompts_continue_as_in_llama_cpp_and_transformers() {
    let Some((model, tokenizer, _)) = smollm2() else {
        return;
    };
    let prompts = fixture().prompts;
    assert_eq!(prompts.len(), 10);
    let mut requests = Vec::new();
    for prompt in &prompts {
        let ids = if prompt.special {
            tokenizer.encode_with_special(&prompt.text)
        } else {
            tokenizer.encode_with_template(&prompt.text)
        };
        assert_eq!(ids, prompt.ids, "{:?}", prompt.text);
        requests.push(Request {
            prompt: ids,
            ..Request::default()
        });
    }
    let config = SampleConfig {
        max_new_tokens: 60,
        temperature: 0.0,
        ..SampleConfig::default()
    };
    let go_on = |_, _| ControlFlow::Continue(());
    let done = generate(&model, &requests, &config, Seed(0), go_on).unwrap();
    for (prompt, done) in prompts.iter().zip(done) {
        let found: Vec<u32> = done.tokens.iter().map(|token| token.id).collect();
        let lead = prompt.leads.iter().copied().fold(f32::INFINITY, f32::min);
        let text = format!(
            "{:?}, leads from {lead}: {:?}",
            prompt.text,
            tokenizer.decode(&found)
        );
        assert_eq!(found, prompt.transformers, "transformers: {text}");
        assert_eq!(found, prompt.llama_cpp, "llama.cpp: {text}");
    }
}

#[test]
fn perplexity_is_that_of_transformers() {
    let Some((model, tokenizer, _)) = smollm2() else {
        return;
    };
    let expected = fixture().perplexity;
    if let Some(data) = std::env::var_os("SINTERLM_TEST_DATA") {
        let path = Path::new(&data).join("tinystories/tinystories_valid.txt");
        let bytes = std::fs::read(path).unwrap();
        let text = String::from_utf8_lossy(&bytes[..expected.bytes]);
        let mut ids = vec![tokenizer.end_of_text()];
        for story in text.split("<|endoftext|>") {
            ids.extend(tokenizer.encode(story.trim()));
            ids.push(tokenizer.end_of_text());
        }
        assert_eq!(ids, expected.ids);
    }
    let starts = (0..expected.ids.len() - expected.window).step_by(expected.window);
    let batches = starts.map(|start| {
        let mut batch = Batch::padded(1, expected.window, 0);
        let window = &expected.ids[start..=start + expected.window];
        batch.ids.copy_from_slice(&window[..expected.window]);
        batch.targets.copy_from_slice(&window[1..]);
        batch.weights.fill(1.0);
        batch
    });
    let total = loss_over(&model, batches, &ForwardCtx::default(), &Device::flex());
    let (found, nats) = (
        total.mean().unwrap().exp(),
        expected.nats / expected.tokens as f64,
    );
    let expected = nats.exp();
    eprintln!("perplexity {found:.6}, that of transformers {expected:.6}");
    assert!(
        (found / expected - 1.0).abs() < 1e-4,
        "{found} is not {expected}"
    );
}

/// Not a check: writes what the fixture's script reads.
#[test]
#[ignore = "slow: writes 1 GB of exports into the folder SINTERLM_SMOLLM2_EXPORTS"]
fn write_exports() {
    let folder = std::env::var_os("SINTERLM_SMOLLM2_EXPORTS").map(PathBuf::from);
    let (Some((model, tokenizer, path)), Some(folder)) = (smollm2(), folder) else {
        eprintln!("skipped: SINTERLM_SMOLLM2_EXPORTS is not set");
        return;
    };
    let file = GgufFile::open(path).unwrap();
    let marks = TextMarks::from_gguf(&file).unwrap();
    let mut metadata = tokenizer
        .to_gguf(&marks, model.config().vocab_size)
        .unwrap();
    let template = ChatTemplate::from_gguf(&file).unwrap().unwrap();
    template.to_gguf(&mut metadata);
    let hf = folder.join("hf");
    std::fs::create_dir_all(&hf).unwrap();
    save_gguf(
        &folder.join("f32.gguf"),
        &model,
        Dtype::F32.into(),
        metadata,
    )
    .unwrap();
    save_model(&hf, &model, marks.eos.unwrap()).unwrap();
    tokenizer.save(&hf.join("tokenizer.json")).unwrap();
}
