//! llama2.c files: the decoder that their header describes, and their names of its tensors, which are
//! those of Meta's original Llama.

use sinterlm_formats::Llama2cConfig;

use super::place::{Form, Place, in_block};
use crate::gpt::{Activation, GptConfig, Positions};
use crate::linear::NormKind;

/// Modules of a block, ours and theirs.
const MODULES: [(&str, &str); 9] = [
    ("norm_1", "attention_norm"),
    ("attn.q", "attention.wq"),
    ("attn.k", "attention.wk"),
    ("attn.v", "attention.wv"),
    ("attn.out", "attention.wo"),
    ("norm_2", "ffn_norm"),
    ("mlp.gate", "feed_forward.w1"),
    ("mlp.down", "feed_forward.w2"),
    ("mlp.up", "feed_forward.w3"),
];

/// The decoder; what the header leaves out is fixed in `run.c`.
pub(super) fn config(header: &Llama2cConfig) -> GptConfig {
    GptConfig {
        vocab_size: header.vocab_size,
        max_seq_len: header.max_seq_len,
        d_model: header.d_model,
        n_layers: header.n_layers,
        n_heads: header.n_heads,
        n_kv_heads: header.n_kv_heads,
        d_ff: header.d_ff,
        positions: Positions::Rope,
        rope_theta: 10_000.0,
        norm: NormKind::RmsNorm,
        norm_eps: 1e-5,
        qkv_bias: false,
        attn_out_bias: false,
        mlp_bias: false,
        activation: Activation::Swiglu,
        tied_head: header.is_tied,
        ..GptConfig::default()
    }
}

/// The place of the parameter at `path`.
///
/// # Panics
/// If the decoder has no such parameter.
pub(super) fn place(path: &str, config: &GptConfig) -> Place {
    match path {
        "wte.weight" => return Place::plain("tok_embeddings.weight"),
        "norm.weight" => return Place::plain("norm.weight"),
        "head.weight" => return Place::plain("output.weight"),
        _ => {}
    }
    let (layer, module, leaf) = in_block(path).expect("a parameter of a block");
    let found = MODULES.iter().find(|(ours, _)| *ours == module);
    let (_, name) = found.expect("every module of such a block has a name");
    let heads = match module {
        "attn.q" => Some(config.n_heads),
        "attn.k" => Some(config.n_kv_heads()),
        _ => None,
    };
    Place {
        name: format!("layers.{layer}.{name}.{leaf}"),
        form: heads.map_or(Form::Plain, |heads| Form::Neighbours { heads }),
    }
}
