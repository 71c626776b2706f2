//! Token ids on a device, with the host-side layout of their rows.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use sinterlm_kernels::RowLayout;

/// The input of a forward pass.
#[derive(Clone, Debug)]
pub struct TokenBatch {
    /// `[batch, seq]`, each below the vocabulary size.
    pub ids: Tensor<2, Int>,
    /// `[batch, seq]`, each below `max_seq_len`; restarts at each segment.
    pub positions: Tensor<2, Int>,
    /// Where segments start and rows end; masks derive from it and are never passed around.
    pub layout: RowLayout,
    /// `positions` on the host, where rotations are computed.
    host_positions: Arc<[u32]>,
    prefix: Option<Prefix>,
    noise: Option<Tensor<3>>,
}

/// What the first blocks of a decoder made of a batch.
#[derive(Clone, Debug)]
pub(crate) struct Prefix {
    /// How many blocks these are.
    pub(crate) blocks: usize,
    /// `[batch, seq, d_model]`.
    pub(crate) hidden: Tensor<3>,
}

impl TokenBatch {
    /// Puts rows of one segment each on the device; `ids` is row-major `[rows, seq]`.
    ///
    /// # Panics
    /// If `ids` does not hold `rows * seq` entries.
    pub fn dense(ids: &[u32], rows: usize, device: &Device) -> Self {
        assert!(
            rows > 0 && ids.len().is_multiple_of(rows),
            "ids must fill {rows} equal rows"
        );
        let seq = ids.len() / rows;
        let positions: Vec<u32> = (0..rows).flat_map(|_| 0..seq as u32).collect();
        Self::new(ids, &positions, RowLayout::dense(rows, seq), device)
    }

    /// Puts rows of different lengths on the device, each with the position of its first token, in
    /// front of padding: what passes over a cache read.
    ///
    /// # Panics
    /// If there is no token at all.
    pub fn ragged(rows: &[(usize, &[u32])], device: &Device) -> Self {
        let seq = rows.iter().map(|(_, ids)| ids.len()).max().unwrap_or(0);
        assert!(seq > 0, "ragged: a batch needs a token");
        let (mut ids, mut positions) = (vec![0; rows.len() * seq], vec![0; rows.len() * seq]);
        for (row, (start, new)) in rows.iter().enumerate() {
            ids[row * seq..][..new.len()].copy_from_slice(new);
            for (at, position) in positions[row * seq..][..new.len()].iter_mut().enumerate() {
                *position = (start + at) as u32;
            }
        }
        let layout = RowLayout {
            lengths: rows.iter().map(|(_, ids)| ids.len() as u32).collect(),
            ..RowLayout::dense(rows.len(), seq)
        };
        Self::new(&ids, &positions, layout, device)
    }

    /// Puts rows with any layout on the device; both lists are row-major `[rows, seq]`.
    ///
    /// # Panics
    /// If a list does not fill the layout.
    pub fn new(ids: &[u32], positions: &[u32], layout: RowLayout, device: &Device) -> Self {
        let shape = [layout.rows, layout.seq];
        Self {
            ids: ints(ids, shape, device),
            positions: ints(positions, shape, device),
            layout,
            host_positions: positions.into(),
            prefix: None,
            noise: None,
        }
    }

    /// The batch with `noise`, `[batch, seq, d_model]`, which is added to the embeddings of its tokens.
    ///
    /// # Panics
    /// If `noise` is not as long as the batch.
    #[must_use]
    pub fn with_noise(self, noise: Tensor<3>) -> Self {
        let [rows, seq, _] = noise.dims();
        assert_eq!([rows, seq], self.dims(), "noise must fill [batch, seq]");
        let noise = Some(noise);
        Self { noise, ..self }
    }

    /// What is added to the embeddings.
    pub(crate) fn noise(&self) -> Option<&Tensor<3>> {
        self.noise.as_ref()
    }

    /// The batch with the activations behind the first `blocks` blocks of the decoder that will read
    /// it, `[batch, seq, d_model]`: see [`Gpt::prefix`](crate::Gpt::prefix). The decoder begins behind
    /// these blocks then. What stands at padding does not matter.
    ///
    /// # Panics
    /// If `hidden` is not as long as the batch.
    #[must_use]
    pub fn with_prefix(self, blocks: usize, hidden: Tensor<3>) -> Self {
        let [rows, seq, _] = hidden.dims();
        assert_eq!([rows, seq], self.dims(), "a prefix must fill [batch, seq]");
        let prefix = Some(Prefix { blocks, hidden });
        Self { prefix, ..self }
    }

    /// What the first blocks made of the batch, where that is known.
    pub(crate) fn prefix(&self) -> Option<&Prefix> {
        self.prefix.as_ref()
    }

    /// The positions of all tokens, row by row.
    pub(crate) fn host_positions(&self) -> &[u32] {
        &self.host_positions
    }

    /// The positions of a row, where all rows have the same ones.
    pub(crate) fn shared_positions(&self) -> Option<&[u32]> {
        let mut rows = self.host_positions.chunks(self.layout.seq.max(1));
        let first = rows.next().unwrap_or_default();
        rows.all(|row| row == first).then_some(first)
    }

    /// The same rows with their padding read as text, each of one segment.
    pub(crate) fn with_padding_read(&self) -> Self {
        let [rows, seq] = self.dims();
        let positions: Vec<u32> = (0..rows).flat_map(|_| 0..seq as u32).collect();
        let device = self.ids.device();
        Self {
            ids: self.ids.clone(),
            positions: ints(&positions, [rows, seq], &device),
            layout: RowLayout::dense(rows, seq),
            host_positions: positions.into(),
            prefix: self.prefix.clone(),
            noise: self.noise.clone(),
        }
    }

    /// `[batch, seq]`.
    pub fn dims(&self) -> [usize; 2] {
        self.ids.dims()
    }
}

fn ints(values: &[u32], shape: [usize; 2], device: &Device) -> Tensor<2, Int> {
    assert_eq!(
        values.len(),
        shape[0] * shape[1],
        "the list must fill [rows, seq]"
    );
    let values: Vec<i32> = values.iter().map(|&v| v as i32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}
