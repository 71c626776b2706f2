//! The valid small files that the fuzzer damages: made by the programs themselves, except texts,
//! prompts and the kinds of files that they read and never write.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use crate::{process, repository};

/// What `--model` reads, by its name in the folder of seeds.
pub(super) const MODELS: &[&str] = &[
    "run",
    "hf",
    "hf",
    "gpt2",
    "f32.gguf",
    "f16.gguf",
    "q8.gguf",
    "q4.gguf",
    "llama2c/model.bin",
    "torch",
];
/// What `--train` and `--valid` read.
pub(super) const TEXTS: &[&str] = &[
    "notes.txt",
    "lines.jsonl",
    "array.json",
    "notes.txt.gz",
    "lines.jsonl.zst",
    "texts",
];

const TEMPLATE: &str = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}\n{% endfor %}\
    {% if add_generation_prompt %}<|assistant|>{% endif %}";
/// Keys over the smoke config: a model of some thousand numbers that is done at once.
const TINY: &[&str] = &[
    "data.source.count=40",
    "tokenizer.vocab_size=280",
    "model.vocab_size=280",
    "model.d_model=16",
    "model.n_heads=2",
    "model.max_seq_len=32",
    "trainer.max_steps=4",
    "trainer.micro_batch_size=2",
    "schedule.warmup_steps=1",
    "eval.every_steps=2",
    "sample.max_new_tokens=4",
    "checkpoint.every_steps=2",
];
const LLAMA: &[&str] = &[
    "model.d_model=32", // blocks of quantised numbers hold 32
    "model.positions=rope",
    "model.norm=rms_norm",
    "model.activation=swiglu",
    "model.qkv_bias=false",
    "model.attn_out_bias=false",
    "model.mlp_bias=false",
];

/// Fills `folder`.
pub(super) fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    texts(folder)?;
    train(folder, "run", &[])?;
    train(folder, "llama", LLAMA)?;
    fs::copy(folder.join("run/config.toml"), folder.join("config.toml"))?;
    export(folder, "run", "gpt2", "f32")?;
    export(folder, "llama", "hf", "f32")?;
    let config = folder.join("hf/tokenizer_config.json");
    let mut value: serde_json::Value = match fs::read(&config) {
        Ok(bytes) => serde_json::from_slice(&bytes)?,
        Err(_) => json!({}),
    };
    value["chat_template"] = TEMPLATE.into();
    fs::write(&config, value.to_string())?;
    for (name, dtype) in [
        ("f32", "f32"),
        ("f16", "f16"),
        ("q8", "q8_0"),
        ("q4", "q4_0"),
    ] {
        export(folder, "hf", &format!("{name}.gguf"), dtype)?;
    }
    fs::create_dir(folder.join("llama2c"))?;
    fs::write(folder.join("llama2c/model.bin"), llama2c())?;
    fs::write(folder.join("llama2c/tokenizer.bin"), tokenizer_bin())?;
    // Weights of another program beside a config and a tokenizer of ours.
    fs::create_dir(folder.join("torch"))?;
    for name in ["config.json", "tokenizer.json"] {
        fs::copy(
            folder.join("hf").join(name),
            folder.join("torch").join(name),
        )?;
    }
    let state = repository::root().join("crates/sinterlm-formats/tests/fixtures/state.pt");
    fs::copy(&state, folder.join("torch/pytorch_model.bin")).context("state.pt")?;
    Ok(())
}

/// Texts in all forms that are read as such, and prompts.
fn texts(folder: &Path) -> Result<()> {
    let sentence = |i: usize| format!("Tom has {} red balls and {} blue ones.", i % 7, i % 11);
    let (mut lines, mut list, mut plain) = (String::new(), Vec::new(), String::new());
    for i in 0..60 {
        let record = json!({"text": sentence(i), "id": i});
        lines.extend([record.to_string(), "\n".to_owned()]);
        let mark = if i % 3 == 2 { "<|endoftext|>\n" } else { "" };
        plain.extend([&sentence(i), "\n", mark]);
        list.push(record);
    }
    fs::write(folder.join("notes.txt"), &plain)?;
    fs::write(folder.join("lines.jsonl"), &lines)?;
    fs::write(folder.join("array.json"), json!(list).to_string())?;
    fs::write(folder.join("notes.txt.gz"), gzip(plain.as_bytes()))?;
    fs::write(folder.join("lines.jsonl.zst"), zstandard(lines.as_bytes()))?;
    fs::create_dir(folder.join("texts"))?;
    fs::write(folder.join("texts/a.txt"), &plain)?;
    fs::write(folder.join("texts/b.jsonl"), &lines)?;
    let message = json!([{"role": "user", "content": "Hi"}]);
    let prompts = [
        json!({"prompt": "Once upon"}),
        json!({"instruction": "Count", "input": "balls"}),
        json!({"messages": message}),
    ];
    fs::write(
        folder.join("prompts.jsonl"),
        prompts.map(|prompt| format!("{prompt}\n")).concat(),
    )?;
    Ok(())
}

fn train(folder: &Path, name: &str, keys: &[&str]) -> Result<()> {
    let mut command = Command::new(program("pretrain_tinystories"));
    command.args(["--config", "configs/smoke/pretrain_tinystories.toml"]);
    command.args(["--device", "flex", "--offline", "--quiet", "--out"]);
    command.arg(folder.join(name));
    command.args(TINY.iter().chain(keys).flat_map(|key| ["--set", key]));
    process::capture(&mut command).map(drop)
}

fn export(folder: &Path, model: &str, to: &str, dtype: &str) -> Result<()> {
    let mut command = Command::new(program("export"));
    command.args(["--offline", "--device", "flex", "--dtype", dtype]);
    command.arg("--model").arg(folder.join(model));
    command.arg("--to").arg(folder.join(to));
    process::capture(&mut command).map(drop)
}

/// The built example of that name.
pub(super) fn program(name: &str) -> std::path::PathBuf {
    repository::root()
        .join(repository::target_dir())
        .join("release/examples")
        .join(name)
}

/// A model in the format of llama2.c: seven numbers, then its tensors.
fn llama2c() -> Vec<u8> {
    let (dim, hidden, layers, heads, vocab, seq) = (8, 16, 1, 2, 260, 16);
    let mut bytes = Vec::new();
    for number in [dim, hidden, layers, heads, heads, vocab, seq] {
        bytes.extend(i32::to_le_bytes(number));
    }
    let per_layer = 4 * dim * dim + 3 * dim * hidden + 2 * dim;
    let numbers = vocab * dim + layers * per_layer + dim + seq * (dim / heads);
    bytes.extend((0..numbers).flat_map(|i| f32::to_le_bytes((i % 13) as f32 / 50.0 - 0.1)));
    bytes
}

/// Its tokenizer: unknown, begin, end, the bytes, and a letter.
fn tokenizer_bin() -> Vec<u8> {
    let bytes = (0..=255).map(|byte| format!("<0x{byte:02X}>"));
    let first = ["<unk>", "\n<s>\n", "\n</s>\n"].map(str::to_owned);
    let tokens: Vec<String> = first
        .into_iter()
        .chain(bytes)
        .chain(["t".to_owned()])
        .collect();
    let mut file = 8_u32.to_le_bytes().to_vec(); // the longest token's length
    for token in &tokens {
        file.extend(0_f32.to_le_bytes());
        file.extend((token.len() as u32).to_le_bytes());
        file.extend(token.as_bytes());
    }
    file
}

/// A gzip file of one stored block (RFC 1951, RFC 1952).
fn gzip(data: &[u8]) -> Vec<u8> {
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    let len = data.len() as u16; // the texts are some kilobytes
    file.extend([len.to_le_bytes(), (!len).to_le_bytes()].concat());
    file.extend(data);
    let crc = !data.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 * (crc & 1))
        })
    });
    file.extend([crc.to_le_bytes(), (data.len() as u32).to_le_bytes()].concat());
    file
}

/// A Zstandard frame of one raw block (RFC 8878).
fn zstandard(data: &[u8]) -> Vec<u8> {
    let mut file = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0]; // one segment, size in four bytes
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(&((data.len() as u32) << 3 | 1).to_le_bytes()[..3]); // the last block
    file.extend(data);
    file
}
