//! The GPT decoder written out: learned positions, pre-norm blocks, tied or untied head.

mod attention;
mod block;
mod config;
mod mlp;
mod presets;
mod size;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use sinterlm_config::Seed;
use sinterlm_kernels as kernels;

pub use config::{Activation, GptConfig};
pub use presets::Preset;
pub use size::{MemoryEstimate, Parameters};

use crate::batch::TokenBatch;
use crate::causal_lm::{CausalLm, Head};
use crate::context::ForwardCtx;
use crate::init::{Maker, ParamSpec};
use crate::kv_cache::KvCache;
use crate::linear::{Embedding, LayerNorm, Linear};
use block::{Block, BlockCtx};

/// GPT-2's initial standard deviation of weights and embeddings (Radford et al. 2019).
const INIT_STD: f64 = 0.02;

/// A decoder-only transformer in the form of GPT-2 (Radford et al. 2019).
///
/// Parameters are called `wte.weight`, `wpe.weight`, `blocks.N.norm_1.weight`,
/// `blocks.N.attn.{q,k,v,out}.weight`, `blocks.N.norm_2.weight`, `blocks.N.mlp.{up,down}.weight`,
/// `norm.weight` and, untied, `head.weight`; biases beside them.
#[derive(Module, Debug)]
pub struct Gpt {
    wte: Embedding,
    wpe: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Option<Linear>,
    #[module(skip)]
    config: GptConfig,
}

impl GptConfig {
    /// Makes a model with freshly drawn weights: the same ones for the same seed on any device.
    ///
    /// On an autodiff device its parameters are trainable.
    pub fn init(&self, seed: Seed, device: &Device) -> Gpt {
        let drawn = Gpt::make(self, device, &mut |spec: &ParamSpec| {
            Ok::<_, std::convert::Infallible>(spec.draw(seed))
        });
        match drawn {
            Ok(model) => model,
            Err(never) => match never {},
        }
    }

    /// Makes a model from given values, asked for parameter by parameter.
    ///
    /// # Errors
    /// Whatever `values` answers.
    pub fn init_from<E>(
        &self,
        device: &Device,
        mut values: impl FnMut(&ParamSpec) -> Result<Vec<f32>, E>,
    ) -> Result<Gpt, E> {
        Gpt::make(self, device, &mut values)
    }
}

impl Gpt {
    fn make<E>(
        config: &GptConfig,
        device: &Device,
        values: &mut dyn FnMut(&ParamSpec) -> Result<Vec<f32>, E>,
    ) -> Result<Self, E> {
        let maker = &mut Maker { device, values };
        let d_model = config.d_model;
        let wte = Embedding::make(maker, "wte", [config.vocab_size, d_model], INIT_STD)?;
        let wpe = Embedding::make(maker, "wpe", [config.max_seq_len, d_model], INIT_STD)?;
        let blocks = (0..config.n_layers)
            .map(|layer| Block::make(maker, config, &format!("blocks.{layer}"), INIT_STD))
            .collect::<Result<_, E>>()?;
        let norm = LayerNorm::make(maker, "norm", d_model, config.norm_eps)?;
        let head = (!config.tied_head)
            .then(|| Linear::make(maker, "head", [config.vocab_size, d_model], INIT_STD, false))
            .transpose()?;
        Ok(Self {
            wte,
            wpe,
            blocks,
            norm,
            head,
            config: config.clone(),
        })
    }

    /// The same weights with another dropout, which a file of weights doesn't decide.
    #[must_use]
    pub fn with_dropout(mut self, dropout: f64) -> Self {
        self.config.dropout = dropout;
        self
    }

    /// What the model was made from.
    pub fn config(&self) -> &GptConfig {
        &self.config
    }

    /// Token and position embeddings, `[batch, seq, d_model]`.
    ///
    /// `first`: the rows are read from their first token on, each in one piece.
    fn embed(&self, tokens: &TokenBatch, first: bool) -> Tensor<3> {
        let seq = tokens.layout.seq;
        let x = self.wte.forward(tokens.ids.clone());
        if first && tokens.layout.is_dense() {
            // Every row reads the same positions: one slice, broadcast, in place of a look-up.
            let rows = [0..seq, 0..self.config.d_model];
            x + self.wpe.weight.val().slice(rows).unsqueeze::<3>()
        } else {
            x + self.wpe.forward(tokens.positions.clone())
        }
    }
}

impl CausalLm for Gpt {
    fn hidden(
        &self,
        tokens: &TokenBatch,
        ctx: &ForwardCtx,
        mut cache: Option<&mut KvCache>,
    ) -> Tensor<3> {
        let seq = tokens.layout.seq;
        let max_seq_len = self.config.max_seq_len;
        if let Some(cache) = cache.as_deref_mut() {
            cache.begin(&tokens.layout);
        }
        assert!(
            seq <= max_seq_len,
            "hidden: {seq} tokens, the model reads {max_seq_len} at most"
        );
        let mut x = self.embed(tokens, cache.is_none());
        let block_ctx = BlockCtx {
            forward: ctx,
            layout: &tokens.layout,
            config: &self.config,
        };
        // Dropout sites are numbered through the model: 0 for the embeddings, three per block.
        x = dropout(x, self.config.dropout, ctx.site_key(0));
        let checkpointing = ctx.checkpointing.as_ref();
        let checkpointing = checkpointing.filter(|_| cache.is_none() && x.is_autodiff());
        if let Some(checkpointing) = checkpointing {
            // The embeddings' tape keeps no activation but their sum, which the first block needs.
            x = checkpointing.part(x.clone(), move || x);
        }
        for (layer, block) in self.blocks.iter().enumerate() {
            x = match checkpointing {
                Some(checkpointing) => block.checkpointed(x, layer, &block_ctx, checkpointing),
                None => block.forward(x, layer, &block_ctx, cache.as_deref_mut()),
            };
        }
        if let Some(cache) = cache {
            cache.advance();
        }
        self.norm.forward(x)
    }

    fn head(&self) -> Head {
        let weight = self
            .head
            .as_ref()
            .map_or(&self.wte.weight, |head| &head.weight);
        Head {
            weight: weight.val(),
        }
    }

    fn max_seq_len(&self) -> usize {
        self.config.max_seq_len
    }

    fn new_cache(&self, batch: usize, capacity: usize) -> KvCache {
        let capacity = capacity.min(self.config.max_seq_len);
        let shape = [batch, self.config.n_heads, capacity, self.config.head_dim()];
        KvCache::new(self.blocks.len(), shape, &self.wte.weight.lazy_device())
    }
}

fn dropout<const D: usize>(x: Tensor<D>, p: f64, key: Option<u64>) -> Tensor<D> {
    match key {
        Some(key) if p > 0.0 => kernels::dropout(x, p, key),
        _ => x,
    }
}
