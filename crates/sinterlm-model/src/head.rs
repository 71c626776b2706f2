//! The output projection, from activations to logits.

use burn::tensor::Tensor;

use crate::context::ForwardCtx;
use crate::linear::Linear;

/// The output projection, handed to the loss so that logits need never exist as a whole.
#[derive(Clone, Debug)]
pub struct Head {
    /// `[vocab, d_model]`, without a bias; where the head is tied, the weight is the embedding's.
    pub linear: Linear,
    /// Soft cap `c` on the logits, `c·tanh(logit/c)`, if any.
    pub softcap: Option<f32>,
}

impl Head {
    /// Tokens that it gives logits of.
    pub fn vocab_size(&self) -> usize {
        self.linear.weight.dims()[0]
    }

    /// Logits of activations, `[rows, d_model]` to `[rows, vocab]`.
    pub fn logits(&self, hidden: Tensor<2>, ctx: &ForwardCtx) -> Tensor<2> {
        let logits = self.linear.forward(hidden, ctx);
        match self.softcap {
            Some(cap) => (logits / cap).tanh() * cap,
            None => logits,
        }
    }

    /// Two tensors whose product is the logits before the soft cap, for losses that form them in
    /// chunks: `hidden` and the weight, both as they are where the head has no delta.
    ///
    /// A delta of rank r widens both by r columns, since `x Wᵀ + s (x Aᵀ) Bᵀ = [x, s x Aᵀ] [W, B]ᵀ`;
    /// the weight is copied then.
    ///
    /// # Shapes
    /// - `hidden`: `[batch, seq, d_model]`
    /// - returns `[batch, seq, width]` and `[vocab, width]`
    pub fn operands(&self, hidden: Tensor<3>, ctx: &ForwardCtx) -> (Tensor<3>, Tensor<2>) {
        let weight = self.linear.weight.val();
        let mut deltas = self.linear.deltas_in(ctx).peekable();
        if deltas.peek().is_none() {
            return (hidden, weight);
        }
        let (mut inputs, mut weights) = (vec![hidden.clone()], vec![weight]);
        for delta in deltas {
            let inner = sinterlm_kernels::linear(
                hidden.clone(),
                delta.lora_a.val(),
                None,
                ctx.precision.matmul(),
            );
            inputs.push(inner.mul_scalar(delta.scale));
            weights.push(delta.lora_b.val());
        }
        (Tensor::cat(inputs, 2), Tensor::cat(weights, 1))
    }
}
