//! The decoder written out: embeddings, pre-norm blocks, tied or untied head. What differs between
//! model families is chosen by the config; there is one decoder, not one per family.

mod attention;
mod block;
mod block_ctx;
mod config;
mod mlp;
mod prefix;
mod presets;
mod rope;
mod rope_scaling;
mod size;

use std::convert::Infallible;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use sinterlm_config::Seed;

pub use config::{Activation, GptConfig, Positions};
pub use presets::Preset;
pub(crate) use rope::{rope_divisors, rope_frequencies, yarn_factor};
pub use rope_scaling::RopeScaling;
pub use size::Parameters;

use crate::batch::TokenBatch;
use crate::causal_lm::CausalLm;
use crate::context::{ForwardCtx, dropout};
use crate::head::Head;
use crate::init::{Maker, ParamSpec, Values};
use crate::kv_cache::KvCache;
use crate::linear::{Embedding, Linear, Norm};
use crate::params::has_trainable;
use crate::row_tokens::RowTokens;
use crate::weight::Weight;
use block::Block;
use block_ctx::BlockCtx;

/// GPT-2's initial standard deviation of weights and embeddings (Radford et al. 2019).
const INIT_STD: f64 = 0.02;

/// A decoder-only transformer: GPT-2 (Radford et al. 2019), the Llama family, and what lies between,
/// by the options of [`GptConfig`].
///
/// Parameters are called `wte.weight`, `wpe.weight` (learned positions), `blocks.N.norm_1.weight`,
/// `blocks.N.attn.{q,k,v,out}.weight`, `blocks.N.attn.{q_norm,k_norm}.weight`,
/// `blocks.N.norm_2.weight`, `blocks.N.mlp.{gate,up,down}.weight`, `norm.weight` and, untied,
/// `head.weight`; biases beside them, each where the config asks for it.
#[derive(Module, Debug)]
pub struct Gpt {
    wte: Embedding,
    wpe: Option<Embedding>,
    blocks: Vec<Block>,
    norm: Norm,
    head: Option<Linear>,
    #[module(skip)]
    config: GptConfig,
}

impl GptConfig {
    /// Makes a model with freshly drawn weights: the same ones for the same seed on any device.
    ///
    /// On an autodiff device its parameters are trainable.
    pub fn init(&self, seed: Seed, device: &Device) -> Gpt {
        let drawn = self.init_from(device, |spec| Ok::<_, Infallible>(spec.draw(seed)));
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
        self.init_with(device, &mut |spec: &ParamSpec| {
            let (path, values) = (&spec.path, values(spec)?);
            assert_eq!(values.len(), spec.len(), "{path}: wrong number of values");
            Ok(Values::Numbers(TensorData::new(values, spec.shape.clone())))
        })
    }

    /// [`init_from`](Self::init_from) with values that may lie in memory that is shared, or packed.
    pub(crate) fn init_with<E>(
        &self,
        device: &Device,
        values: &mut dyn FnMut(&ParamSpec) -> Result<Values, E>,
    ) -> Result<Gpt, E> {
        Gpt::make(self, device, values)
    }

    /// The parameters that a model of this config has, in the order in which it makes them.
    pub fn param_specs(&self, device: &Device) -> Vec<ParamSpec> {
        let mut specs = Vec::new();
        // A model of single values, thrown away: what is wanted is what it asks for.
        let made = self.init_with(device, &mut |spec: &ParamSpec| {
            specs.push(spec.clone());
            let one = TensorData::new(vec![0.0f32], vec![1; spec.shape.len()]);
            Ok::<_, Infallible>(Values::Numbers(one))
        });
        match made {
            Ok(_) => specs,
            Err(never) => match never {},
        }
    }
}

impl Gpt {
    fn make<E>(
        config: &GptConfig,
        device: &Device,
        values: &mut dyn FnMut(&ParamSpec) -> Result<Values, E>,
    ) -> Result<Self, E> {
        let maker = &mut Maker { device, values };
        let d_model = config.d_model;
        let wte = Embedding::make(maker, "wte", [config.vocab_size, d_model], INIT_STD)?;
        let wpe = (config.positions == Positions::Learned)
            .then(|| Embedding::make(maker, "wpe", [config.max_seq_len, d_model], INIT_STD))
            .transpose()?;
        let blocks = (0..config.n_layers)
            .map(|layer| Block::make(maker, config, &format!("blocks.{layer}"), INIT_STD))
            .collect::<Result<_, E>>()?;
        let norm = Norm::make(maker, "norm", config.norm, d_model, config.norm_eps)?;
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

    /// The decoder without an output projection of its own: its head is the embedding, as where the two
    /// are tied. For a class head, which leaves the projection untrained and without a gradient.
    #[must_use]
    pub fn without_head(mut self) -> Self {
        self.head = None;
        self.config.tied_head = true;
        self
    }

    /// The model with each linear layer replaced by what `map` makes of it, told its path
    /// (`blocks.0.attn.q`, `head` where the head is not tied): where adapters are put in and taken out.
    #[must_use]
    pub fn map_linears(mut self, mut map: impl FnMut(&str, Linear) -> Linear) -> Self {
        let blocks = self.blocks.into_iter().enumerate();
        self.blocks = blocks
            .map(|(layer, block)| block.map_linears(&format!("blocks.{layer}"), &mut map))
            .collect();
        self.head = self.head.map(|head| map("head", head));
        self
    }

    /// What the model was made from.
    pub fn config(&self) -> &GptConfig {
        &self.config
    }

    /// Token embeddings and, if learned, those of positions, `[batch, seq, d_model]`.
    fn embed(&self, tokens: &TokenBatch) -> Tensor<3> {
        let x = self.wte.forward(tokens.ids.clone());
        let Some(wpe) = &self.wpe else {
            return x;
        };
        match (&wpe.weight, tokens.shared_positions()) {
            // Every row reads the same positions: one slice, broadcast, in place of a look-up.
            (Weight::Dense(table), Some(row)) if row.is_sorted_by(|a, b| a + 1 == *b) => {
                let first = row.first().map_or(0, |first| *first as usize);
                let rows = [first..first + row.len(), 0..self.config.d_model];
                x + table.val().slice(rows).unsqueeze::<3>()
            }
            _ => x + wpe.forward(tokens.positions.clone()),
        }
    }

    /// Activations after the final norm: of all tokens, or of those that are `read`.
    ///
    /// What is frozen drops nothing: dropout is there against overfitting, and activations that are
    /// computed once and kept could not have it.
    fn run(
        &self,
        tokens: &TokenBatch,
        ctx: &ForwardCtx,
        mut cache: Option<&mut KvCache>,
        read: Option<&RowTokens>,
    ) -> Tensor<3> {
        if let Some(cache) = cache.as_deref_mut() {
            cache.begin(&tokens.layout);
        }
        let shared = self.block_ctx(tokens, ctx);
        let is_training = ctx.dropout_key.is_some() && self.config.dropout > 0.0;
        let dropout_if = |is_on: bool| if is_on { self.config.dropout } else { 0.0 };
        // A cache needs the keys and values of all blocks.
        let prefix = tokens.prefix().filter(|_| cache.is_none());
        let skipped = prefix.map_or(0, |prefix| prefix.blocks);
        let mut x = if let Some(prefix) = prefix {
            self.behind(prefix, tokens, ctx)
        } else {
            // Dropout sites are numbered through the model: 0 for the embeddings, three per block.
            let p = dropout_if(is_training && self.trains_embeddings());
            let x = match tokens.noise() {
                Some(noise) => self.embed(tokens) + noise.clone(),
                None => self.embed(tokens),
            };
            let x = dropout(x, p, ctx.site_key(0));
            ctx.see(|| "embeddings".to_owned(), &x);
            x
        };
        let checkpointing = ctx.checkpointing.as_ref();
        let checkpointing = checkpointing.filter(|_| cache.is_none() && x.is_autodiff());
        if let Some(checkpointing) = checkpointing.filter(|_| x.is_tracked()) {
            // The embeddings' tape keeps no activation but their sum, which the first block needs.
            x = checkpointing.part(x.clone(), move || x);
        }
        let n_layers = self.blocks.len();
        for (layer, block) in self.blocks.iter().enumerate().skip(skipped) {
            let block_ctx = BlockCtx {
                dropout: dropout_if(is_training && has_trainable(block)),
                read: read.filter(|_| layer + 1 == n_layers),
                ..shared.clone()
            };
            x = match checkpointing {
                Some(checkpointing) => block.checkpointed(x, layer, &block_ctx, checkpointing),
                None => block.forward(x, layer, &block_ctx, cache.as_deref_mut()),
            };
        }
        if let Some(cache) = cache {
            cache.advance();
        }
        if let Some(read) = read.filter(|_| skipped == n_layers) {
            x = read.select(x).unsqueeze_dim(1);
        }
        let x = self.norm.forward(x);
        ctx.see(|| "norm".to_owned(), &x);
        x
    }

    /// What all blocks of a pass over `tokens` share.
    fn block_ctx<'a>(&'a self, tokens: &'a TokenBatch, forward: &'a ForwardCtx) -> BlockCtx<'a> {
        let last = tokens.host_positions().iter().max().copied().unwrap_or(0) as usize;
        assert!(
            last < self.config.max_seq_len,
            "hidden: {} tokens, the model reads {} at most",
            last + 1,
            self.config.max_seq_len
        );
        BlockCtx {
            forward,
            layout: &tokens.layout,
            config: &self.config,
            rope: rope::rope_tables(&self.config, tokens, &tokens.ids.device()),
            dropout: 0.0,
            read: None,
        }
    }
}

impl CausalLm for Gpt {
    fn hidden(
        &self,
        tokens: &TokenBatch,
        ctx: &ForwardCtx,
        cache: Option<&mut KvCache>,
    ) -> Tensor<3> {
        self.run(tokens, ctx, cache, None)
    }

    /// The last block attends from these tokens alone, and its feed-forward layer reads no others.
    fn hidden_at(&self, tokens: &TokenBatch, columns: &[u32], ctx: &ForwardCtx) -> Tensor<2> {
        let read = RowTokens::new(columns, tokens.dims());
        let x = self.run(tokens, ctx, None, Some(&read));
        x.squeeze_dim(1)
    }

    fn head(&self) -> Head {
        let tied = || Linear::of_weight(self.wte.weight.clone());
        Head {
            linear: self.head.clone().unwrap_or_else(tied),
            softcap: (self.config.logits_softcap > 0.0)
                .then_some(self.config.logits_softcap as f32),
        }
    }

    fn max_seq_len(&self) -> usize {
        self.config.max_seq_len
    }

    fn new_cache(&self, batch: usize, capacity: usize) -> KvCache {
        let [kv_heads, head_dim] = [self.config.n_kv_heads(), self.config.head_dim()];
        let shape = [
            batch,
            kv_heads,
            capacity.min(self.config.max_seq_len),
            head_dim,
        ];
        KvCache::new(self.blocks.len(), shape, &self.device())
    }
}
