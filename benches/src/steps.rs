//! Whole training steps: which are measured, what they are called, and how one is set up.

use anyhow::Result;
use serde_json::{Value, json};
use sinterlm::burn::tensor::{Device, Tensor};
use sinterlm::config::{KeyRng, Seed};
use sinterlm::data::Batch;
use sinterlm::eval::DeviceBatch;
use sinterlm::kernels::MatmulPrecision;
use sinterlm::losses::{CrossEntropyOptions, TokenCount};
use sinterlm::model::{ForwardCtx, Gpt, GptConfig, Precision, Preset};
use sinterlm::run::peak_memory_bytes;
use sinterlm::trainer::{
    At, Moments, Objective, OptimizerConfig, OptimizerKind, ScheduleConfig, StepSize, TrainError,
    Trainer, TrainerConfig, training_memory,
};

use crate::{Case, median, product_peak, timings};

/// The model that figures are given for: 6 layers of width 512, GPT-2's vocabulary, untied head.
pub fn reference_model() -> GptConfig {
    GptConfig {
        tied_head: false,
        ..Preset::TinyStories.config()
    }
}

/// The steps of `cargo bench`; one line adds one.
///
/// What a config field switches is added by its setter, `case.with("int8_moments", |case| ...)`.
pub fn step_cases() -> Vec<StepCase> {
    let (small, reference) = (Preset::Small.config(), reference_model());
    let of = StepCase::new;
    vec![
        of(4, 256, &small),
        of(4, 256, &small).muon(),
        of(4, 256, &small).bf16(),
        of(4, 256, &small).bf16().muon(),
        of(4, 256, &reference),
        of(1, 1024, &reference),
        of(4, 256, &reference).bf16(),
        of(1, 1024, &reference).bf16(),
        of(4, 256, &reference).bf16().lean(),
        // The same tokens a step in longer and longer rows.
        of(8, 256, &reference),
        of(4, 512, &reference),
        of(2, 1024, &reference),
        of(1, 2048, &reference),
        of(8, 256, &reference).bf16(),
        of(4, 512, &reference).bf16(),
        of(2, 1024, &reference).bf16(),
        of(1, 2048, &reference).bf16(),
    ]
}

/// One training step: forward, backward, clipping and update on random tokens.
#[derive(Clone, Debug)]
pub struct StepCase {
    /// Rows of the batch.
    pub rows: usize,
    /// Tokens of a row.
    pub seq: usize,
    /// The model; its context is at least `seq`.
    pub model: GptConfig,
    /// The step loop's settings, precision among them.
    pub trainer: TrainerConfig,
    /// The update rule.
    pub optimizer: OptimizerConfig,
    /// What else differs from the defaults, as words of the id.
    pub variant: String,
}

impl StepCase {
    /// A step in f32 with AdamW. The context is made longer where `seq` needs it.
    pub fn new(rows: usize, seq: usize, model: &GptConfig) -> Self {
        Self {
            rows,
            seq,
            model: GptConfig {
                max_seq_len: model.max_seq_len.max(seq),
                ..model.clone()
            },
            trainer: TrainerConfig {
                max_steps: 1_000_000,
                ..TrainerConfig::default()
            },
            optimizer: OptimizerConfig::default(),
            variant: String::new(),
        }
    }

    /// The same step with Muon.
    #[must_use]
    pub fn muon(mut self) -> Self {
        self.optimizer.kind = OptimizerKind::Muon;
        self
    }

    /// The same step with matrix products in bf16.
    #[must_use]
    pub fn bf16(mut self) -> Self {
        self.trainer.precision = Precision::Bf16;
        self
    }

    /// The same step in little memory: optimizer state in 8 bits, activations computed twice.
    #[must_use]
    pub fn lean(self) -> Self {
        self.with("int8_checkpointed", |case| {
            case.optimizer.moments = Moments::Int8;
            case.trainer.activation_checkpointing = true;
        })
    }

    /// The same step with another setting, named in the id.
    #[must_use]
    pub fn with(mut self, name: &str, set: impl FnOnce(&mut Self)) -> Self {
        set(&mut self);
        self.variant = format!("{}_{name}", self.variant);
        self
    }

    /// Tokens that one step trains on.
    pub fn tokens(&self) -> usize {
        self.rows * self.seq
    }

    /// Floating-point operations of the step's matrix products.
    pub fn flops(&self) -> f64 {
        (self.tokens() as u64 * self.model.train_flops_per_token(self.seq)) as f64
    }

    /// Peak memory of the step by the estimate that `--plan` prints, in bytes.
    pub fn estimated_memory(&self) -> u64 {
        let device = Device::flex().autodiff();
        let optimizer = self.optimizer.memory_of(&self.model.init(Seed(0), &device));
        let step = StepSize {
            rows: self.rows,
            seq: self.seq,
            precision: self.trainer.precision.matmul(),
            activation_checkpointing: self.trainer.activation_checkpointing,
            micro_batches: 1,
            optimizer_state: optimizer.state,
            optimizer_scratch: optimizer.scratch,
        };
        training_memory(&self.model, &step).peak()
    }

    /// A function that does one step, set up with fresh weights.
    ///
    /// The first step's loss is held against `ln vocab`, what fresh weights must give.
    pub fn start(&self) -> Box<dyn FnMut()> {
        let mut trainer = self.trainer(None);
        let vocab_size = self.model.vocab_size;
        Box::new(move || {
            let report = trainer.step().expect("random tokens give a finite loss");
            let expected = (vocab_size as f64).ln();
            assert!(
                report.step > 1 || (report.loss - expected).abs() < 0.3,
                "the first loss is {}, not about {expected}",
                report.loss
            );
        })
    }

    /// A trainer that makes such steps, of the given weights or of fresh ones.
    pub fn trainer(&self, model: Option<Gpt>) -> Trainer<Gpt, impl Objective<Gpt> + use<>> {
        let device = Device::flex().autodiff();
        let objective = Noise {
            rows: self.rows,
            seq: self.seq,
            vocab_size: self.model.vocab_size,
            device: device.clone(),
        };
        Trainer::new(
            model.unwrap_or_else(|| self.model.init(Seed(0), &device)),
            objective,
            self.trainer.clone(),
            self.optimizer.clone(),
            ScheduleConfig::default(),
            Seed(0),
            &device,
        )
    }

    fn optimizer_name(&self) -> &'static str {
        match self.optimizer.kind {
            OptimizerKind::AdamW => "adamw",
            OptimizerKind::Muon => "muon",
            OptimizerKind::Adafactor => "adafactor",
            OptimizerKind::Lion => "lion",
        }
    }

    fn precision_name(&self) -> &'static str {
        match self.trainer.precision.matmul() {
            MatmulPrecision::F32 => "f32",
            MatmulPrecision::Bf16 => "bf16",
            MatmulPrecision::F16 => "f16",
        }
    }
}

impl Case for StepCase {
    fn id(&self) -> String {
        let GptConfig {
            d_model,
            n_layers,
            vocab_size,
            ..
        } = self.model;
        format!(
            "train_step/b{}_s{}_d{d_model}_l{n_layers}_v{vocab_size}/{}{}/{}/flex",
            self.rows,
            self.seq,
            self.optimizer_name(),
            self.variant,
            self.precision_name(),
        )
    }

    fn shape(&self) -> Value {
        json!({
            "bench": self.id(),
            "rows": self.rows,
            "seq": self.seq,
            "d_model": self.model.d_model,
            "d_ff": self.model.d_ff(),
            "n_layers": self.model.n_layers,
            "n_heads": self.model.n_heads,
            "vocab_size": self.model.vocab_size,
            "max_seq_len": self.model.max_seq_len,
            "tied_head": self.model.tied_head,
            "optimizer": self.optimizer_name(),
            "precision": self.precision_name(),
        })
    }

    /// All take five minutes without those between.
    fn is_extra(&self) -> bool {
        let bf16 = self.trainer.precision == Precision::Bf16;
        [self.rows, self.seq] == [2, 1024] || ([self.rows, self.seq] == [4, 512] && bf16)
    }

    fn measure(&self, runs: Option<usize>) -> Result<Value> {
        let mut step = self.start();
        let step_seconds = timings(runs, &mut *step);
        drop(step);
        let peak_memory = peak_memory_bytes(); // before the products below, which need some too
        let product_peak = product_peak(&Device::flex());
        let seconds = median(&step_seconds);
        Ok(json!({
            "bench": self.id(),
            "median_seconds": seconds,
            "step_seconds": step_seconds,
            "tokens": self.tokens(),
            "tokens_per_second": (self.tokens() as f64 / seconds).round(),
            "flops": self.flops(),
            "product_peak_flops_per_second": product_peak.round(),
            "share_of_product_peak": self.flops() / seconds / product_peak,
            "peak_memory_bytes": peak_memory,
            "estimated_memory_bytes": self.estimated_memory(),
        }))
    }
}

/// Random tokens: speed does not depend on what they are.
#[derive(Debug)]
struct Noise {
    rows: usize,
    seq: usize,
    vocab_size: usize,
    device: Device,
}

impl Objective<Gpt> for Noise {
    type Batch = Batch;

    fn batch(&self, at: At) -> Result<Batch, TrainError> {
        let mut rng = KeyRng::new(at.step);
        let mut batch = Batch::padded(self.rows, self.seq, 0);
        let mut draw = || (rng.next_f32() * self.vocab_size as f32) as u32;
        batch.ids.fill_with(&mut draw);
        batch.targets.fill_with(&mut draw);
        batch.weights.fill(1.0);
        Ok(batch)
    }

    fn count(&self, batch: &Batch) -> TokenCount {
        TokenCount::new(batch.token_count())
    }

    fn loss(&self, model: &Gpt, batch: &Batch, step: TokenCount, ctx: &ForwardCtx) -> Tensor<1> {
        let options = CrossEntropyOptions::default();
        DeviceBatch::new(batch, &self.device)
            .loss(model, &options, ctx)
            .share_of(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_case_has_an_id_of_its_own() {
        let cases = step_cases();
        let ids: BTreeSet<String> = cases.iter().map(Case::id).collect();
        assert_eq!(ids.len(), cases.len());
        assert!(ids.contains("train_step/b4_s256_d512_l6_v50257/adamw/f32/flex"));
    }

    #[test]
    fn a_variant_is_part_of_the_id() {
        let case = StepCase::new(1, 8, &Preset::Tiny.config())
            .bf16()
            .with("unclipped", |case| case.trainer.max_grad_norm = 0.0);
        assert_eq!(
            case.id(),
            "train_step/b1_s8_d64_l2_v512/adamw_unclipped/bf16/flex"
        );
    }

    #[test]
    fn operations_of_a_step_are_six_a_weight_and_token_and_the_causal_half_of_attention() {
        let model = Preset::Tiny.config();
        let (d, layers, vocab) = (64.0, 2.0, 512.0);
        let weights = layers * 12.0 * d * d + vocab * d;
        let attention = layers * 6.0 * 32.0 * d;
        let expected = 3.0 * 32.0 * (6.0 * weights + attention);
        let case = StepCase::new(3, 32, &model);
        assert_eq!(case.flops().to_bits(), f64::to_bits(expected));
    }

    #[test]
    fn a_step_of_every_kind_runs() {
        let tiny = StepCase::new(2, 16, &Preset::Tiny.config());
        for case in [tiny.clone(), tiny.clone().muon(), tiny.bf16()] {
            let mut step = case.start();
            step();
            step();
        }
    }
}
