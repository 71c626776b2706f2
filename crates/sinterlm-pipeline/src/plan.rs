//! The plan of a run: what it would do, before it does it. How rows look is in `rows`.

use std::time::Instant;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use sinterlm_data::{Batch, Tokenizer};
use sinterlm_kernels::release_freed_memory;
use sinterlm_model::{GptConfig, is_trainable};
use sinterlm_run::{available_memory_bytes, peak_memory_bytes, resident_bytes};
use sinterlm_trainer::{
    CheckpointConfig, Objective, OptimizerConfig, TrainError, Trainer, TrainerConfig,
};

use crate::host::Host;
use crate::parts::Preview;
use crate::rows::show_row;
use crate::run_config::Tables;

/// Steps that the probe times, after one that warms up.
const TIMED_STEPS: usize = 3;
/// No further step is timed after that many seconds.
const LONGEST_PROBE: f64 = 60.0;
/// Rows that are shown, and how many of their tokens.
const ROWS: usize = 2;
const ROW_TOKENS: usize = 64;
/// Code of the program and stacks of its threads that the first steps touch: 2 to 6 MiB on Linux.
const TOUCHED_LATER: u64 = 4 << 20;
/// What WebGPU guarantees for one buffer in a kernel, in bytes; devices often have more.
const WEBGPU_BINDING: u64 = 128 << 20;

/// What drawing the plot takes for a moment.
#[cfg(feature = "plot")]
fn drawing_bytes() -> u64 {
    sinterlm_run::LossPlot::DRAWING_BYTES
}

#[cfg(not(feature = "plot"))]
fn drawing_bytes() -> u64 {
    0
}

/// What a plan is made of, whatever the objective.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    host: &'a Host,
    model: &'a GptConfig,
    trainer: &'a TrainerConfig,
    optimizer: &'a OptimizerConfig,
    checkpoint: &'a CheckpointConfig,
    /// Rows of one pass over the data.
    rows_per_epoch: u64,
    /// The first batch, for a look at its rows.
    first: &'a Batch,
    /// Whether the steps came of a time budget, whose probe keeps the weights of step 0 beside its own.
    has_budget: bool,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(
        tables: &Tables<'a>,
        preview: &'a Preview,
        host: &'a Host,
        has_budget: bool,
    ) -> Self {
        Self {
            host,
            model: &preview.decoder,
            trainer: tables.trainer,
            optimizer: tables.optimizer,
            checkpoint: tables.checkpoint,
            rows_per_epoch: preview.rows_per_epoch,
            first: &preview.first,
            has_budget,
        }
    }

    /// Tells tokens, passes over the data, parameters, memory, the time by a probe of real steps,
    /// and the first rows as the model will read them.
    ///
    /// `trainer` is used up by the probe: its steps are done on what this process holds, and
    /// nothing is written.
    ///
    /// # Errors
    /// What a step can go wrong with.
    pub(crate) fn tell<M: Module, O: Objective<M>>(
        &self,
        mut trainer: Trainer<M, O>,
        tokenizer: &Tokenizer,
    ) -> Result<(), TrainError> {
        release_freed_memory(); // as a run does before its first step
        let steps_left = self.trainer.max_steps.saturating_sub(trainer.steps());
        self.tell_sizes(steps_left);
        let fits = self.tell_memory(trainer.model());
        if fits {
            self.tell_probe(&mut trainer, steps_left)?;
        } else {
            self.say("plan: no probe of the time: the memory that is free would not do");
        }
        self.tell_rows(tokenizer);
        Ok(())
    }

    fn tell_sizes(&self, steps_left: u64) {
        let (rows, seq) = (self.trainer.micro_rows(), self.first.seq);
        let accumulated = self.trainer.grad_accum_steps;
        let step_rows = rows as u64 * accumulated;
        let tokens = step_rows * seq as u64 * steps_left;
        self.say(format!(
            "plan: {steps_left} steps of {accumulated} x {rows} rows of {seq} tokens: {tokens} tokens, {:.2} passes over the text",
            (step_rows * steps_left) as f64 / self.rows_per_epoch.max(1) as f64,
        ));
        let flops = self.model.train_flops_per_token(seq) as f64;
        self.say(format!(
            "plan: {:.0} MFLOP a token, {:.2} PFLOP in all",
            flops / 1e6,
            flops * tokens as f64 / 1e15
        ));
    }

    /// Returns whether the memory that is free is known not to be too small.
    fn tell_memory<M: Module>(&self, model: &M) -> bool {
        let mut count = Count::default();
        model.visit(&mut count);
        self.say(format!(
            "plan: {} parameters are trained, {} are frozen",
            count.trained, count.frozen
        ));
        let optimizer = self.optimizer.memory_of(model);
        let parts = self.trainer.memory_of(self.model, optimizer);
        let average = parts.optimizer - optimizer.state;
        let accumulates = self.trainer.grad_accum_steps > 1;
        let named = [
            ("weights", parts.weights),
            ("their average", average),
            ("moments", optimizer.state),
            ("gradients", parts.gradients),
            ("their sum", if accumulates { parts.gradients } else { 0 }),
            ("activations", parts.activations),
            ("a chunk of logits", parts.logits),
            ("within an update", optimizer.scratch),
        ];
        let named: Vec<String> = named
            .into_iter()
            .filter(|(_, bytes)| *bytes > 0)
            .map(|(name, bytes)| format!("{name} {:.1}", mib(bytes)))
            .collect();
        self.say(format!("plan: memory in MiB: {}", named.join(", ")));
        // Without a kernel of its own, attention holds the weights of each pair of tokens.
        let is_native = self.host.device_name == "flex";
        let (rows, seq) = (self.trainer.micro_rows(), self.first.seq);
        let pairs = if is_native {
            0
        } else {
            4 * (rows * self.model.n_heads * seq * seq) as u64
        };
        let largest = parts.largest_buffer.max(pairs);
        let limit = match self.host.device_name.as_str() {
            "wgpu" | "metal" if largest > WEBGPU_BINDING => {
                ", above the 128 MiB that WebGPU guarantees: look up the limit of this device"
            }
            "wgpu" | "metal" => ", within the 128 MiB that WebGPU guarantees",
            _ => "",
        };
        self.say(format!(
            "plan: largest single buffer {:.1} MiB{limit}",
            mib(largest)
        ));
        if !is_native {
            let pairs = self.model.n_layers as u64 * pairs;
            self.say(format!(
                "plan: peak at least {:.0} MiB on the device, of which pairs of tokens in attention {:.0}",
                mib(parts.peak() + pairs),
                mib(pairs)
            ));
            return true;
        }
        // The weights are there by now.
        let resident = resident_bytes().unwrap_or(0);
        let program = resident.saturating_sub(parts.weights) + TOUCHED_LATER;
        // Between steps there is room for the plot, and for the copy of the state that the last
        // checkpoint is written from, beside one tensor of the weights.
        let tensor = 4 * (self.model.vocab_size * self.model.d_model) as u64;
        let saving = parts.optimizer + tensor;
        let passing = parts.passing.max(saving).max(drawing_bytes());
        let passing = passing + if self.has_budget { parts.weights } else { 0 };
        let peak = parts.kept() + passing;
        let free = available_memory_bytes();
        let of_free = free.map_or_else(String::new, |free| {
            format!(", {:.0} MiB are free", mib(free + parts.weights))
        });
        let so_far = peak_memory_bytes().unwrap_or(0);
        let of_text = if so_far > program + peak {
            ", less than preparing the text took"
        } else {
            ""
        };
        self.say(format!(
            "plan: peak about {:.0} MiB: program and data {:.0}, weights and state {:.0}, gradients, activations and buffers {:.0}{of_text}{of_free}",
            mib((program + peak).max(so_far)),
            mib(program),
            mib(parts.kept()),
            mib(passing)
        ));
        if !self.saves_beside_training() {
            return free.is_none_or(|free| peak - parts.weights < free);
        }
        // State is copied, weights by the update that meets them while they are written.
        let beside = peak.max(parts.peak() + parts.kept() + tensor);
        self.say(format!(
            "plan: peak about {:.0} MiB while a checkpoint is written beside training",
            mib(program + beside)
        ));
        free.is_none_or(|free| beside - parts.weights < free)
    }

    fn say(&self, line: impl std::fmt::Display) {
        self.host.say(line);
    }

    fn saves_beside_training(&self) -> bool {
        let trigger = self.checkpoint.trigger();
        let steps = trigger.every_steps;
        self.checkpoint.background
            && (trigger.every_tokens > 0
                || trigger.every_seconds > 0
                || self.checkpoint.keep_best
                || (steps > 0 && steps < self.trainer.max_steps))
    }

    fn tell_probe<M: Module, O: Objective<M>>(
        &self,
        trainer: &mut Trainer<M, O>,
        steps_left: u64,
    ) -> Result<(), TrainError> {
        let before = peak_memory_bytes();
        let begun = Instant::now();
        let mut tokens = trainer.step()?.tokens;
        let mut seconds = Vec::new();
        while seconds.len() < TIMED_STEPS && begun.elapsed().as_secs_f64() < LONGEST_PROBE {
            let started = Instant::now();
            tokens = trainer.step()?.tokens;
            seconds.push(started.elapsed().as_secs_f64());
        }
        if seconds.is_empty() {
            seconds.push(begun.elapsed().as_secs_f64());
        }
        seconds.sort_by(f64::total_cmp);
        let (least, most) = (seconds[0], seconds[seconds.len() - 1]);
        let middle = seconds[seconds.len() / 2];
        let grown = peak_memory_bytes().filter(|now| Some(*now) > before);
        let peak = match grown {
            Some(now) if self.host.device_name == "flex" => {
                format!(", peak memory {:.0} MiB", mib(now))
            }
            _ => String::new(),
        };
        self.say(format!(
            "plan: probe: {} steps of {middle:.3} s ({least:.3} to {most:.3} s), {:.0} tokens/s{peak}",
            seconds.len(),
            tokens / middle
        ));
        let all = |seconds: f64| readable_time(seconds * steps_left as f64);
        self.say(format!(
            "plan: about {} for {steps_left} steps ({} to {}); evaluations, samples and checkpoints come on top",
            all(middle),
            all(least),
            all(most)
        ));
        Ok(())
    }

    fn tell_rows(&self, tokenizer: &Tokenizer) {
        let style = self.host.row_style;
        self.say(format!(
            "plan: first rows, trained tokens {}",
            style.legend()
        ));
        for row in 0..self.first.rows.min(ROWS) {
            let text = show_row(self.first, row, ROW_TOKENS, tokenizer, style);
            self.say(format!("plan: row {row}: {text}"));
        }
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn readable_time(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..120 => format!("{seconds:.0} s"),
        120..7200 => format!("{} min", (whole + 30) / 60),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

/// Counts values by whether they are trained.
#[derive(Default)]
struct Count {
    trained: u64,
    frozen: u64,
}

impl ModuleVisitor for Count {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let values = param.lazy_shape().num_elements() as u64;
        if is_trainable(param) {
            self.trained += values;
        } else {
            self.frozen += values;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_unit_that_people_would_use() {
        let texts = [0.6, 119.0, 185.0, 9000.0].map(readable_time);
        assert_eq!(texts, ["1 s", "119 s", "3 min", "2.5 h"]);
    }
}
