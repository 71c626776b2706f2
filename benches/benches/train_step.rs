//! Whole training steps on random tokens: forward, backward, clipping and update. The same shapes
//! as `benches/peers/train_step.py`.

use std::hint::black_box;

use sinterlm::burn::tensor::Device;
use sinterlm::burn::tensor::Tensor;
use sinterlm::config::{KeyRng, Seed};
use sinterlm::data::Batch;
use sinterlm::eval::DeviceBatch;
use sinterlm::losses::{CrossEntropyOptions, TokenCount};
use sinterlm::model::{ForwardCtx, Gpt, GptConfig};
use sinterlm::trainer::{
    At, Objective, OptimizerConfig, OptimizerKind, ScheduleConfig, TrainError, Trainer,
    TrainerConfig,
};
use sinterlm_benches::{is_selected, measure_step};

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

fn bench(rows: usize, seq: usize, model: &GptConfig, kind: OptimizerKind) {
    let (d_model, n_layers, vocab_size) = (model.d_model, model.n_layers, model.vocab_size);
    let optimizer = match kind {
        OptimizerKind::Muon => "muon",
        _ => "adamw",
    };
    let id = format!(
        "train_step/b{rows}_s{seq}_d{d_model}_l{n_layers}_v{vocab_size}/{optimizer}/f32/flex"
    );
    if !is_selected(&id) {
        return;
    }
    let device = Device::flex().autodiff();
    let objective = Noise {
        rows,
        seq,
        vocab_size,
        device: device.clone(),
    };
    let config = TrainerConfig {
        max_steps: 1_000_000,
        ..TrainerConfig::default()
    };
    let schedule = ScheduleConfig::default();
    let optimizer = OptimizerConfig {
        kind,
        ..OptimizerConfig::default()
    };
    let weights = model.init(Seed(0), &device);
    let mut trainer = Trainer::new(
        weights,
        objective,
        config,
        optimizer,
        schedule,
        Seed(0),
        &device,
    );
    measure_step(&id, rows * seq, &mut || {
        let report = trainer.step().expect("random tokens give a finite loss");
        assert!(black_box(report.loss) > 0.0);
    });
}

fn main() {
    let small = GptConfig {
        vocab_size: 2048,
        max_seq_len: 256,
        d_model: 256,
        n_layers: 4,
        n_heads: 4,
        tied_head: true,
        ..GptConfig::default()
    };
    let reference = GptConfig {
        tied_head: false,
        ..GptConfig::default()
    };
    bench(4, 256, &small, OptimizerKind::AdamW);
    bench(4, 256, &small, OptimizerKind::Muon);
    bench(4, 256, &reference, OptimizerKind::AdamW);
    bench(1, 1024, &reference, OptimizerKind::AdamW);
}
