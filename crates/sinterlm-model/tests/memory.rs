//! Writing a model takes little memory beside it.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use burn::tensor::Device;
use sinterlm_config::Seed;
use sinterlm_formats::{BlockType, Dtype, GgufMetadata};
use sinterlm_kernels::run_on_pool;
use sinterlm_model::{
    Activation, GptConfig, NormKind, Positions, SaveOptions, save_gguf, save_model_with,
};
use sinterlm_testkit::peak_bytes;

/// Buffers of files, encoders and the allocator.
const BUFFERS: u64 = 4 << 20;

/// 44 MiB in f32, of which the embedding is 8.
fn gpt2() -> GptConfig {
    GptConfig {
        vocab_size: 8192,
        max_seq_len: 64,
        d_model: 256,
        n_layers: 12,
        n_heads: 4,
        tied_head: true,
        ..GptConfig::default()
    }
}

/// The same with rotation, whose queries and keys llama.cpp has in another order.
fn llama() -> GptConfig {
    GptConfig {
        d_ff: 704,
        positions: Positions::Rope,
        norm: NormKind::RmsNorm,
        activation: Activation::Swiglu,
        ..gpt2()
    }
}

fn largest_bytes(config: &GptConfig) -> u64 {
    4 * (config.vocab_size * config.d_model) as u64
}

/// Makes a model and writes it as `mode` says.
fn work(mode: &str) {
    let (family, written_as) = mode.split_once(' ').unwrap();
    let config = if family == "gpt2" { gpt2() } else { llama() };
    let model = config.init(Seed(1), &Device::flex());
    let folder = tempfile::tempdir().unwrap();
    let save_folder = |dtype| {
        let options = SaveOptions {
            dtype,
            ..SaveOptions::new(0)
        };
        save_model_with(folder.path(), &model, &options).unwrap();
    };
    match written_as {
        "made" => {}
        "f32" => save_folder(Dtype::F32),
        "bf16" => save_folder(Dtype::BF16),
        "q8_0" => {
            let path = folder.path().join("model.gguf");
            save_gguf(&path, &model, BlockType::Q8_0.into(), GgufMetadata::new()).unwrap();
        }
        other => panic!("{other} is no mode"),
    }
}

#[test]
fn a_file_takes_little_more_memory_than_its_largest_tensor() {
    let modes = [
        "gpt2 made",
        "gpt2 f32",
        "gpt2 bf16",
        "gpt2 q8_0",
        "llama made",
        "llama f32",
        "llama bf16",
        "llama q8_0",
    ];
    let test = "a_file_takes_little_more_memory_than_its_largest_tensor";
    let Some(peaks) = peak_bytes(test, modes, |mode| run_on_pool(None, || work(mode))) else {
        return;
    };
    for (modes, peaks) in modes.chunks(4).zip(peaks.chunks(4)) {
        for (mode, peak) in modes.iter().zip(peaks) {
            let beside = peak.saturating_sub(peaks[0]);
            let largest = largest_bytes(&gpt2());
            eprintln!("{mode}: {} KiB beside the model", beside >> 10);
            assert!(beside < largest + BUFFERS, "{mode}: {beside} bytes");
        }
    }
}
