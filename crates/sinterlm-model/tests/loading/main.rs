//! Supervised loading: whatever does not match is refused in one report; shards, half floats, GGUF
//! and llama2.c give the same decoder. What the files share is here.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

mod configs;
mod gguf;
mod packed;
mod published;
mod tensors;

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use sinterlm_config::Seed;
use sinterlm_formats::{Dtype, SafetensorsFile, TensorEntry, write_safetensors};
use sinterlm_model::{
    Activation, CausalLm, ForwardCtx, Gpt, GptConfig, NormKind, Positions, TokenBatch, save_model,
};

/// Name, type, shape and bytes of a tensor.
type Stored = (String, Dtype, Vec<usize>, Vec<u8>);

fn llama() -> GptConfig {
    GptConfig {
        vocab_size: 50,
        max_seq_len: 32,
        d_model: 16,
        n_layers: 2,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 4,
        d_ff: 24,
        positions: Positions::Rope,
        norm: NormKind::RmsNorm,
        qkv_bias: false,
        attn_out_bias: false,
        mlp_bias: false,
        activation: Activation::Swiglu,
        tied_head: false,
        ..GptConfig::default()
    }
}

fn saved(config: &GptConfig) -> (tempfile::TempDir, Gpt) {
    let model = config.init(Seed(3), &Device::flex());
    let folder = tempfile::tempdir().unwrap();
    save_model(folder.path(), &model, 0).unwrap();
    (folder, model)
}

fn tensors(folder: &Path) -> Vec<Stored> {
    let file = SafetensorsFile::open(folder.join("model.safetensors")).unwrap();
    file.names()
        .map(|name| {
            let tensor = file.tensor(name).unwrap();
            (
                name.to_owned(),
                tensor.dtype,
                tensor.shape.clone(),
                tensor.data.to_vec(),
            )
        })
        .collect()
}

fn write(path: &Path, tensors: &[Stored]) {
    let entry = |(name, dtype, shape, data): &Stored| TensorEntry {
        name: name.clone(),
        dtype: *dtype,
        shape: shape.clone(),
        data: data.clone().into(),
    };
    let entries: Vec<TensorEntry<'_>> = tensors.iter().map(entry).collect();
    write_safetensors(path, &entries, &BTreeMap::new()).unwrap();
}

/// Rewrites a saved model's tensors.
fn changed(config: &GptConfig, change: impl Fn(&mut Vec<Stored>)) -> tempfile::TempDir {
    let (folder, _) = saved(config);
    let mut all = tensors(folder.path());
    change(&mut all);
    write(&folder.path().join("model.safetensors"), &all);
    folder
}

fn rename(tensors: &mut [Stored], from: &str, to: &str) {
    for (name, ..) in tensors {
        *name = name.replace(from, to);
    }
}

fn hidden(model: &Gpt) -> Vec<f32> {
    let ids: Vec<u32> = (0..20).map(|i| i * 7 % 50).collect();
    let tokens = TokenBatch::dense(&ids, 1, &Device::flex());
    let hidden: Tensor<3> = model.hidden(&tokens, &ForwardCtx::default(), None);
    hidden.into_data().try_into_vec().unwrap()
}
