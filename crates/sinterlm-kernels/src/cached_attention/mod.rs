//! Attention to keys and values that are kept between calls: the store of one layer and the choice
//! of its form. Which row holds how many tokens is the caller's bookkeeping.

mod composed;
#[cfg(feature = "flex")]
mod native;
#[cfg(test)]
#[cfg(feature = "flex")]
mod tests;

use burn::tensor::{DType, Device, Tensor};

use crate::{AttentionOptions, FEW_ROWS, Route, RowLayout, causal_attention};

/// Keys and values of one layer, in slots of a fixed number of tokens.
///
/// On flex in f32 they lie in memory of their own that is written and read in place; elsewhere in
/// two tensors. Memory is taken when it is first written.
#[derive(Clone, Debug)]
pub struct KeyValues {
    form: Form,
    /// `[slots, kv_heads, capacity, head_dim]`.
    shape: [usize; 4],
}

#[derive(Clone, Debug)]
enum Form {
    #[cfg(feature = "flex")]
    Native(native::Store),
    Composed(Box<composed::Store>),
}

/// Which slot each row of a pass continues, and by how much.
#[derive(Clone, Copy, Debug)]
pub struct CachedRows<'a> {
    /// Slot of each row; no slot twice.
    pub slots: &'a [usize],
    /// Tokens that each row's slot held before this pass.
    pub held: &'a [usize],
    /// New tokens of each row, from its front; the rest of the row is padding.
    pub new: &'a [usize],
}

impl CachedRows<'_> {
    /// Tokens that the longest row holds after the pass.
    fn longest(&self) -> usize {
        let held = self.held.iter().zip(self.new);
        held.map(|(held, new)| held + new).max().unwrap_or(0)
    }
}

/// The tokens that one sees which stands at `position` of its row.
fn visible(position: usize, options: &AttentionOptions) -> std::ops::Range<usize> {
    let end = position + 1;
    options
        .window
        .map_or(0, |window| end.saturating_sub(window))..end
}

impl KeyValues {
    /// An empty store; `shape` is `[slots, kv_heads, capacity, head_dim]`.
    pub fn new(shape: [usize; 4], device: &Device) -> Self {
        let form = match Route::of(device, DType::F32) {
            #[cfg(feature = "flex")]
            Route::Native => Form::Native(native::Store::new(shape)),
            _ => Form::Composed(Box::new(composed::Store::new(shape, device))),
        };
        Self { form, shape }
    }

    /// Adds the rows' new keys and values and attends to all that their slots hold, causally.
    ///
    /// The function is that of [`causal_attention`] over the whole rows, at their new tokens;
    /// `options.dropout` and `options.precision` are not looked at, but by long first passes.
    /// On flex the bits of up to [`FEW_ROWS`] new tokens of a row depend on nothing but that row;
    /// more than that at the start of all rows go through [`causal_attention`].
    ///
    /// # Shapes
    /// - `q`: `[batch, heads, new, head_dim]`; `k`, `v`: `[batch, kv_heads, new, head_dim]`
    /// - returns `[batch, heads, new, head_dim]`; what padding reads is unspecified, and finite
    ///
    /// # Panics
    /// If the shapes do not fit each other or the store, or a slot would overflow.
    pub fn attend(
        &mut self,
        q: Tensor<4>,
        k: Tensor<4>,
        v: Tensor<4>,
        rows: &CachedRows<'_>,
        options: &AttentionOptions,
    ) -> Tensor<4> {
        let [slots, kv_heads, capacity, head_dim] = self.shape;
        let [batch, heads, seq, _] = q.dims();
        assert_eq!(
            q.dims()[3],
            head_dim,
            "attend: q must have the store's head_dim"
        );
        assert_eq!(
            k.dims(),
            [batch, kv_heads, seq, head_dim],
            "attend: k must be [batch, kv_heads, new, head_dim]"
        );
        assert_eq!(v.dims(), k.dims(), "attend: v must have the shape of k");
        assert!(
            kv_heads > 0 && heads.is_multiple_of(kv_heads),
            "attend: kv_heads {kv_heads} must divide heads {heads}"
        );
        let counts = [rows.slots.len(), rows.held.len(), rows.new.len()];
        assert_eq!(counts, [batch; 3], "attend: one slot and length per row");
        assert!(
            rows.slots.iter().all(|&slot| slot < slots) && rows.new.iter().all(|&new| new <= seq),
            "attend: a row's slot or length is outside the store or the batch"
        );
        assert!(
            rows.longest() <= capacity,
            "attend: a slot holds {capacity} tokens at most"
        );
        let first = seq > FEW_ROWS && rows.held.iter().all(|&held| held == 0);
        match &mut self.form {
            #[cfg(feature = "flex")]
            Form::Native(store) => {
                let (k, v) = if first {
                    store.append(k.clone(), v.clone(), rows);
                    (k, v)
                } else {
                    return store.attend(q, k, v, rows, options);
                };
                let layout = RowLayout {
                    lengths: rows.new.iter().map(|&new| new as u32).collect(),
                    ..RowLayout::dense(batch, seq)
                };
                causal_attention(q, k, v, &layout, options)
            }
            Form::Composed(store) => store.attend(q, k, v, rows, options),
        }
    }

    /// Copies the first `tokens` of a slot over those of another.
    ///
    /// # Panics
    /// If a slot or `tokens` is outside the store.
    pub fn copy_slot(&mut self, from: usize, to: usize, tokens: usize) {
        let [slots, _, capacity, _] = self.shape;
        assert!(
            from < slots && to < slots && tokens <= capacity,
            "copy_slot: {tokens} tokens of slot {from} to {to} of {slots}"
        );
        if from == to || tokens == 0 {
            return;
        }
        match &mut self.form {
            #[cfg(feature = "flex")]
            Form::Native(store) => store.copy_slot(from, to, tokens),
            Form::Composed(store) => store.copy_slot(from, to, tokens),
        }
    }
}
