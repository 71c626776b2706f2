//! The first blocks of a decoder apart from the rest: where they are frozen, what they make of a row
//! never changes. Keeping it is left to the cache.

use burn::tensor::{Device, Tensor};
use sha2::{Digest, Sha256};

use super::{Gpt, GptConfig, RopeScaling};
use crate::batch::{Prefix, TokenBatch};
use crate::context::{ForwardCtx, Precision};
use crate::params::{has_trainable, lazy_values};

impl Gpt {
    /// How many leading blocks make the same of a row all through training: those that, like the
    /// embeddings under them, have no trained parameter.
    ///
    /// It is 0 where the embedding is also a head that is trained, and where a row's rotation depends
    /// on the rows around it ([`RopeScaling::Dynamic`] beyond its original length).
    pub fn frozen_prefix(&self) -> usize {
        let is_fixed = match self.config.rope_scaling {
            RopeScaling::Dynamic {
                original_max_seq_len,
                ..
            } => self.config.max_seq_len <= original_max_seq_len,
            _ => true,
        };
        if self.trains_embeddings() || !is_fixed {
            return 0;
        }
        let frozen = self
            .blocks
            .iter()
            .take_while(|block| !has_trainable(*block));
        frozen.count()
    }

    /// Activations behind the first `blocks` blocks, `[batch, seq, d_model]`, as in evaluation: without
    /// dropout, which frozen blocks do not have in training either. For
    /// [`TokenBatch::with_prefix`].
    ///
    /// # Panics
    /// If the decoder has fewer blocks, or reads shorter rows.
    pub fn prefix(&self, tokens: &TokenBatch, blocks: usize, ctx: &ForwardCtx) -> Tensor<3> {
        let ctx = ForwardCtx {
            dropout_key: None,
            checkpointing: None,
            ..ctx.clone()
        };
        let block_ctx = self.block_ctx(tokens, &ctx);
        let x = self.embed(tokens);
        let blocks = self.blocks[..blocks].iter().enumerate();
        blocks.fold(x, |x, (layer, block)| {
            block.forward(x, layer, &block_ctx, None)
        })
    }

    /// Where the decoder is.
    pub(crate) fn device(&self) -> Device {
        self.wte.weight.device()
    }

    /// Whether an embedding is trained, be it as a head that is tied to it.
    pub(super) fn trains_embeddings(&self) -> bool {
        has_trainable(&self.wte) || has_trainable(&self.wpe)
    }

    /// Where a pass begins that knows what the first blocks make of its tokens.
    pub(super) fn behind(
        &self,
        prefix: &Prefix,
        tokens: &TokenBatch,
        ctx: &ForwardCtx,
    ) -> Tensor<3> {
        let Prefix { blocks, hidden } = prefix;
        let (width, frozen) = (hidden.dims()[2], self.frozen_prefix());
        assert_eq!(width, self.config.d_model, "a prefix of another width");
        assert!(
            *blocks <= frozen && !self.trains_embeddings(),
            "a prefix of {blocks} blocks, of which {frozen} are frozen: the others would not be trained"
        );
        let mut x = hidden.clone();
        if tokens.ids.device().is_autodiff() && !x.is_autodiff() {
            x = x.autodiff();
        }
        match blocks.checked_sub(1) {
            Some(layer) => ctx.see(|| format!("blocks.{layer}"), &x),
            None => ctx.see(|| "embeddings".to_owned(), &x),
        }
        x
    }

    /// Puts into `key` all that [`prefix`](Self::prefix) depends on beside the tokens: weights by value,
    /// the deltas of adapters, the architecture, and the number format of products.
    pub(crate) fn digest_prefix(&self, blocks: usize, precision: Precision, key: &mut Sha256) {
        // What plays no part before the final norm is left out, so that it may change.
        let config = GptConfig {
            dropout: 0.0,
            logits_softcap: 0.0,
            tied_head: true,
            ..self.config.clone()
        };
        let version = env!("CARGO_PKG_VERSION");
        key.update(format!("{version} {blocks} {precision:?} {config:?}"));
        let in_blocks: Vec<String> = (0..blocks)
            .map(|layer| format!("blocks.{layer}."))
            .collect();
        let is_read = |path: &str| {
            path.starts_with("wte.")
                || path.starts_with("wpe.")
                || in_blocks.iter().any(|block| path.starts_with(block))
        };
        let mut scales = Vec::new();
        let _ = self.clone().map_linears(|path, linear| {
            let deltas = linear.deltas.iter().filter(|_| is_read(path));
            scales.extend(deltas.map(|delta| format!("{path} {}", delta.scale)));
            linear
        });
        key.update(format!("{scales:?}"));
        for values in lazy_values(self) {
            if is_read(&values.path) {
                let named = values.read();
                key.update(format!("{} {:?}", named.path, named.shape));
                update_with_numbers(key, &named.values);
            }
        }
    }
}

/// Puts numbers into a digest by their bits.
fn update_with_numbers(digest: &mut Sha256, numbers: &[f32]) {
    let mut bytes = Vec::with_capacity(4 * 4096);
    for piece in numbers.chunks(4096) {
        bytes.clear();
        bytes.extend(piece.iter().flat_map(|number| number.to_le_bytes()));
        digest.update(&bytes);
    }
}
