//! The memory of training, known before anything is allocated. That of the optimizer stands in
//! `optimizer::size`.

use sinterlm_kernels::{MatmulPrecision, thread_buffer_bytes};
use sinterlm_model::GptConfig;

/// What decides how much memory a training step takes, beside the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepSize {
    /// Rows of a micro-batch.
    pub rows: usize,
    /// Tokens of a row.
    pub seq: usize,
    /// Number format of the matrix products.
    pub precision: MatmulPrecision,
    /// Whether blocks keep their input alone and are computed again.
    pub activation_checkpointing: bool,
    /// Micro-batches of a step.
    pub micro_batches: u64,
    /// Bytes that the optimizer keeps from step to step.
    pub optimizer_state: u64,
    /// Bytes that it needs during an update, beside the gradients.
    pub optimizer_scratch: u64,
}

/// Bytes that training takes from its second step on (the first makes the optimizer's state), by
/// part. The parts are not all there at one time: [`peak`](Self::peak) tells the most that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// Master weights, f32.
    pub weights: u64,
    /// Optimizer state.
    pub optimizer: u64,
    /// Gradients, f32. Twice that where micro-batches accumulate.
    pub gradients: u64,
    /// Activations at the end of the forward pass of one micro-batch.
    pub activations: u64,
    /// One chunk of logits.
    pub logits: u64,
    /// The most that comes and goes within a step: what there is of gradients, activations, logits
    /// and buffers at one time, an eighth for the gaps that an allocator leaves between them, and
    /// the buffers of each thread.
    pub passing: u64,
    /// The largest single buffer: a parameter, an activation or the chunk of logits.
    pub largest_buffer: u64,
}

impl MemoryEstimate {
    /// What stays from step to step.
    pub fn kept(&self) -> u64 {
        self.weights + self.optimizer
    }

    /// The most memory at any time of a step.
    pub fn peak(&self) -> u64 {
        self.kept() + self.passing
    }
}

/// Estimates the memory of training `model` with steps of that size, on as many threads as the
/// current pool has.
///
/// Activations are counted for fused attention, norms and loss (nothing of the size of
/// `seq × seq` or of the whole logits is kept); with activation checkpointing the input of each
/// block, and one block at a time.
pub fn training_memory(model: &GptConfig, step: &StepSize) -> MemoryEstimate {
    const BYTES: u64 = 4;
    let total = model.parameters().total;
    let n_layers = model.n_layers as u64;
    let (d, d_ff) = (model.d_model as u64, model.d_ff() as u64);
    let vocab = model.vocab_size as u64;
    let [q, k] = model.attention_widths().map(|width| width as u64);
    let tokens = (step.rows * step.seq) as u64;
    // Per block: two norm outputs and two residual sums (4 d), q, k, v and the attended values,
    // q and k before their norms, the feed-forward layer before and after its activation.
    let inner = (1 + u64::from(model.is_gated())) * d_ff;
    let block = tokens * (4 * d + 2 * (q + k) + where_set(model.qk_norm, q + k) + inner + d_ff);
    let (blocks, recomputed) = if step.activation_checkpointing {
        (n_layers * tokens * d, block)
    } else {
        (n_layers * block, 0)
    };
    // Beside the blocks: embeddings, the last norm's output and the gradient of that.
    let activations = blocks + 3 * tokens * d;
    // As `linear_cross_entropy` cuts them: 64 to 512 rows, 100 MiB of f32 logits.
    let most = ((25 << 20) / vocab.max(1)).clamp(64, 512);
    let logits = vocab * tokens.div_ceil(tokens.div_ceil(most).max(1));

    let table = vocab * d;
    let accumulated = where_set(step.micro_batches > 1, total);
    // Operands as matrix products rearrange them.
    let packed = (tokens.max(d) * d_ff).min(1 << 20);
    // And as they round them, for a format that the CPU cannot multiply.
    let rounded = step.precision.rounds_copies();
    // The backward pass within a block: the gradient of the feed-forward layer is the widest.
    let within = tokens * d_ff + packed + where_set(rounded, tokens * (d + d_ff));
    // Gradients are made as activations are freed, block by block at an even rate: the most
    // is there at one of the ends.
    let at_loss = activations + table + logits + packed + where_set(rounded, table + logits);
    let in_last_block = blocks + recomputed + table + within;
    let later = total - model.block_parameters() - where_set(!model.tied_head, table);
    let in_first_block = later + block + within;
    // A tied table's gradient comes in two parts, one from each of its uses.
    let at_embedding = total + where_set(model.tied_head, table) + 2 * tokens * d;
    let backward = [at_loss, in_last_block, in_first_block, at_embedding];
    let backward = accumulated + backward.into_iter().max().unwrap_or(0);
    let update = BYTES * total + step.optimizer_scratch;
    let passing = update.max(BYTES * backward);

    let largest = [table, d * d_ff, tokens * d_ff, tokens * d, logits];
    MemoryEstimate {
        weights: BYTES * total,
        optimizer: step.optimizer_state,
        gradients: BYTES * total,
        activations: BYTES * activations,
        logits: BYTES * logits,
        passing: passing + passing / 8 + thread_buffer_bytes(model.d_model),
        largest_buffer: BYTES * largest.into_iter().max().unwrap_or(0),
    }
}

fn where_set(set: bool, count: u64) -> u64 {
    if set { count } else { 0 }
}
