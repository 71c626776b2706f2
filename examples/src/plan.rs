//! `--plan`: what a run would do, before it does it.

use crate::exit::say;
use sinterlm::data::{Tokenizer, TrainWindows};
use sinterlm::recipes::PretrainConfig;

/// Prints tokens, passes over the text, memory, and the first rows as the model will read them.
pub fn print_plan(config: &PretrainConfig, train: &TrainWindows, tokenizer: &Tokenizer) {
    let (rows, seq) = (config.trainer.micro_rows(), config.model.max_seq_len);
    let step_rows = rows as u64 * config.trainer.grad_accum_steps;
    let tokens = step_rows * seq as u64 * config.trainer.max_steps;
    say(format!(
        "plan: {} steps of {} x {} rows of {seq} tokens: {tokens} tokens, {:.2} passes over the text",
        config.trainer.max_steps,
        config.trainer.grad_accum_steps,
        rows,
        (step_rows * config.trainer.max_steps) as f64 / train.rows_per_epoch() as f64,
    ));
    let flops = config.model.train_flops_per_token(seq) as f64;
    say(format!(
        "plan: {:.0} MFLOP a token, {:.2} PFLOP in all",
        flops / 1e6,
        flops * tokens as f64 / 1e15
    ));
    let memory = config.model.training_memory(
        rows,
        seq,
        config
            .optimizer
            .state_bytes(config.model.parameters().total),
        config.trainer.activation_checkpointing,
    );
    say(format!(
        "plan: about {} MiB: weights {}, gradients {}, optimizer {}, activations {}",
        memory.total() >> 20,
        memory.weights >> 20,
        memory.gradients >> 20,
        memory.optimizer >> 20,
        memory.activations >> 20,
    ));
    let batch = train.batch(0, rows.min(2));
    for row in 0..batch.rows {
        let ids = &batch.ids[row * batch.seq..][..batch.seq.min(48)];
        say(format!("plan: row {row}: {:?} ...", tokenizer.decode(ids)));
    }
}
