//! Low-rank deltas beside the weights: what they add, when they count, and that no file takes them.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use sinterlm_config::Seed;
use sinterlm_formats::{Dtype, GgufMetadata};
use sinterlm_model::{
    Adapters, CausalLm, ForwardCtx, Gpt, GptConfig, Linear, LowRank, ModelError, TokenBatch,
    Weight, named_values, param_id, save_gguf, save_model,
};
use sinterlm_testkit::{WHOLE_MODEL_F32, assert_close, fixed_fill};

fn model() -> Gpt {
    let config = GptConfig {
        vocab_size: 40,
        max_seq_len: 8,
        d_model: 16,
        n_layers: 2,
        n_heads: 2,
        tied_head: false,
        logits_softcap: 5.0,
        ..GptConfig::default()
    };
    config.init(Seed(3), &Device::flex())
}

fn param(name: &str, shape: [usize; 2]) -> Param<Tensor<2>> {
    let values = TensorData::new(fixed_fill(name, &shape, 0.3), shape);
    Param::initialized(param_id(name), Tensor::from_data(values, &Device::flex()))
}

/// Puts a delta of the adapter `a` beside q and the head, and one of `b` beside every up projection.
fn adapted(model: Gpt) -> Gpt {
    model.map_linears(|path, mut linear| {
        let adapter = match path {
            "blocks.1.attn.q" | "head" => "a",
            path if path.ends_with("mlp.up") => "b",
            _ => return linear,
        };
        let [d_out, d_in] = linear.weight.dims();
        linear.deltas.push(LowRank {
            lora_a: param(&format!("{path}.a"), [3, d_in]),
            lora_b: param(&format!("{path}.b"), [d_out, 3]),
            scale: 0.5,
            adapter: adapter.to_owned(),
        });
        linear
    })
}

/// The deltas of some adapters added to the weights.
fn merged(model: Gpt, adapters: &[&str]) -> Gpt {
    model.map_linears(|_, linear| {
        let mut weight = linear.weight.val();
        for delta in linear.deltas {
            if adapters.contains(&delta.adapter.as_str()) {
                let product = delta.lora_b.val().matmul(delta.lora_a.val());
                weight = weight + product.mul_scalar(delta.scale);
            }
        }
        Linear {
            bias: linear.bias,
            ..Linear::of_weight(Weight::Dense(Param::from_tensor(weight)))
        }
    })
}

fn logits(model: &Gpt, adapters: Adapters) -> Vec<f32> {
    let tokens = TokenBatch::dense(&[1, 2, 3, 4, 5, 6, 7, 8], 1, &Device::flex());
    let ctx = ForwardCtx {
        adapters,
        ..ForwardCtx::default()
    };
    let hidden = model.hidden(&tokens, &ctx, None);
    let direct = model.logits(hidden.clone().reshape([8, 16]), &ctx);
    // What a fused loss multiplies gives the same logits.
    let (hidden, weight) = model.head().operands(hidden, &ctx);
    let width = weight.dims()[1];
    let product = hidden.reshape([8, width]).matmul(weight.transpose());
    let capped = (product / 5.0).tanh() * 5.0;
    let [direct, capped] = [direct, capped].map(|t| t.into_data().try_into_vec::<f32>().unwrap());
    assert_close(&direct, &capped, WHOLE_MODEL_F32, "operands");
    direct
}

#[test]
fn deltas_that_count_equal_merged_weights_and_the_others_change_nothing() {
    let base = model();
    let with = adapted(base.clone());
    assert_eq!(logits(&with, Adapters::None), logits(&base, Adapters::All));
    for (adapters, merge) in [
        (Adapters::All, &["a", "b"][..]),
        (Adapters::Named(["a".to_owned()].into()), &["a"]),
        (Adapters::Named(["b".to_owned()].into()), &["b"]),
    ] {
        let expected = logits(&merged(with.clone(), merge), Adapters::All);
        let found = logits(&with, adapters.clone());
        assert_close(&found, &expected, WHOLE_MODEL_F32, &format!("{adapters:?}"));
        assert_ne!(found, logits(&base, Adapters::All), "{adapters:?}");
    }
}

#[test]
fn a_model_with_deltas_is_written_nowhere() {
    let with = adapted(model());
    let paths: Vec<String> = named_values(&with).into_iter().map(|p| p.path).collect();
    assert!(
        paths.contains(&"blocks.1.attn.q.deltas.0.lora_a".to_owned()),
        "{paths:?}"
    );
    let folder = tempfile::tempdir().unwrap();
    let gguf = folder.path().join("model.gguf");
    for refused in [
        save_model(&folder.path().join("model"), &with, 0),
        save_gguf(&gguf, &with, Dtype::F32.into(), GgufMetadata::new()).map(drop),
    ] {
        let Err(error @ ModelError::NoPlace { .. }) = refused else {
            panic!("{refused:?}");
        };
        assert!(
            error
                .to_string()
                .contains("merge adapters into their weights")
        );
    }
    assert!(!gguf.exists());
}
