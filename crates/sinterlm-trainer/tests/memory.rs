//! The memory that a plan foretells is the memory that training takes.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use burn::tensor::{Device, Tensor};
use sinterlm_config::Seed;
use sinterlm_data::Batch;
use sinterlm_eval::DeviceBatch;
use sinterlm_kernels::run_on_pool;
use sinterlm_losses::{CrossEntropyOptions, TokenCount};
use sinterlm_model::{ForwardCtx, Gpt, GptConfig};
use sinterlm_testkit::peak_bytes;
use sinterlm_trainer::{
    At, MicroBatch, Moments, Objective, OptimizerConfig, OptimizerKind, ScheduleConfig, TrainError,
    Trainer, TrainerConfig,
};

struct Case {
    model: GptConfig,
    rows: usize,
    optimizer: OptimizerConfig,
    checkpointing: bool,
}

/// The sizes that are tried: each has another part that weighs most.
fn case(name: &str) -> Case {
    let of = |[vocab_size, d_model, n_layers, seq, rows]: [usize; 5]| Case {
        model: GptConfig {
            vocab_size,
            max_seq_len: seq,
            d_model,
            n_layers,
            n_heads: 4,
            tied_head: true,
            ..GptConfig::default()
        },
        rows,
        optimizer: OptimizerConfig::default(),
        checkpointing: false,
    };
    match name {
        "activations" => of([512, 128, 6, 128, 16]),
        "checkpointed" => Case {
            checkpointing: true,
            ..of([512, 128, 6, 128, 16])
        },
        "vocabulary" => of([50_257, 64, 2, 64, 4]),
        "untied" => Case {
            model: GptConfig {
                tied_head: false,
                ..of([20_000, 128, 2, 64, 4]).model
            },
            ..of([20_000, 128, 2, 64, 4])
        },
        "muon" => Case {
            optimizer: OptimizerConfig {
                kind: OptimizerKind::Muon,
                ..OptimizerConfig::default()
            },
            ..of([256, 512, 4, 64, 4])
        },
        "int8" => Case {
            optimizer: OptimizerConfig {
                moments: Moments::Int8,
                ..OptimizerConfig::default()
            },
            ..of([256, 512, 4, 64, 4])
        },
        other => panic!("no case {other}"),
    }
}

struct Ones(usize, usize, Device);

impl Objective<Gpt> for Ones {
    type Batch = Batch;

    fn batch(&self, _at: At) -> Result<Batch, TrainError> {
        let mut batch = Batch::padded(self.0, self.1, 0);
        batch.weights.fill(1.0);
        Ok(batch)
    }

    fn count(&self, batch: &Batch) -> TokenCount {
        TokenCount::new(batch.token_count())
    }

    fn loss(&self, model: &Gpt, batch: &Batch, step: TokenCount, ctx: &ForwardCtx) -> Tensor<1> {
        DeviceBatch::new(batch, &self.2)
            .loss(model, &CrossEntropyOptions::default(), ctx)
            .share_of(step)
    }
}

fn train(case: &Case) {
    let device = Device::flex().autodiff();
    let config = TrainerConfig {
        micro_batch_size: MicroBatch::Rows(case.rows as u64),
        activation_checkpointing: case.checkpointing,
        ..TrainerConfig::default()
    };
    let mut trainer = Trainer::new(
        case.model.init(Seed(1), &device),
        Ones(case.rows, case.model.max_seq_len, device.clone()),
        config,
        case.optimizer.clone(),
        ScheduleConfig::default(),
        Seed(1),
        &device,
    );
    for _ in 0..2 {
        trainer.step().unwrap();
    }
}

#[test]
fn a_plan_foretells_the_peak_within_fifteen_per_cent() {
    let names = [
        "activations",
        "checkpointed",
        "vocabulary",
        "untied",
        "muon",
        "int8",
    ];
    let modes = [
        "nothing", names[0], names[1], names[2], names[3], names[4], names[5],
    ];
    let test = "a_plan_foretells_the_peak_within_fifteen_per_cent";
    let peaks = peak_bytes(test, modes, |mode| {
        run_on_pool(None, || match mode {
            "nothing" => drop(Tensor::<1>::zeros([8], &Device::flex())),
            name => train(&case(name)),
        });
    });
    let Some([program, peaks @ ..]) = peaks else {
        return;
    };
    for (name, peak) in names.into_iter().zip(peaks) {
        let case = case(name);
        let model = case.model.init(Seed(1), &Device::flex().autodiff());
        let optimizer = case.optimizer.memory_of(&model);
        let seq = case.model.max_seq_len;
        let parts = case
            .model
            .training_memory(case.rows, seq, optimizer.state, case.checkpointing);
        let foretold = (parts.total() + optimizer.directions) as f64;
        let measured = (peak - program) as f64;
        let ratio = foretold / measured;
        eprintln!(
            "{name}: {:.0} MiB measured, ratio {ratio:.2}",
            measured / f64::from(1 << 20)
        );
        assert!(
            (0.85..1.15).contains(&ratio),
            "{name}: {ratio:.2} of {measured}: {parts:?}"
        );
    }
}
