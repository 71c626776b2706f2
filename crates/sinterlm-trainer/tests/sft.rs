//! Supervised fine-tuning against the `SFTTrainer` of `trl`: rows and the losses of twenty steps.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use serde::Deserialize;
use serde_json::Value;
use sinterlm_config::Seed;
use sinterlm_data::{
    Batch, BatchesConfig, Body, Layout, Origin, Prompter, Record, RowBatch, RowBatches, RowSet,
    RowsConfig, Tokenizer,
};
use sinterlm_losses::CrossEntropyOptions;
use sinterlm_model::{ForwardCtx, Gpt, read_config};
use sinterlm_run::RowFacts;
use sinterlm_testkit::{fixed_weight, fixture};
use sinterlm_text::DeviceBatch;
use sinterlm_trainer::{
    MicroBatch, NextToken, OptimizerConfig, ScheduleConfig, ScheduleKind, TokenBatches,
    TrainSettings, Trainer, TrainerConfig,
};

const STEPS: u64 = 20;
/// Of a loss in nats: fifty times the largest difference seen.
const TOLERANCE: f64 = 1e-4;

#[derive(Deserialize)]
struct Reference {
    tokenizer: String,
    records: Vec<PromptCompletion>,
    rows: Vec<Row>,
    models: serde_json::Map<String, Value>,
    settings: Settings,
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct PromptCompletion {
    prompt: String,
    completion: String,
}

#[derive(Deserialize)]
struct Row {
    ids: Vec<u32>,
    prompt: usize,
}

#[derive(Deserialize)]
struct Settings {
    learning_rate: f64,
    weight_decay: f64,
    adam_beta1: f64,
    adam_beta2: f64,
    adam_epsilon: f64,
    max_grad_norm: f64,
}

#[derive(Deserialize)]
struct Run {
    model: String,
    packed: bool,
    rows: usize,
    micro_batches: u64,
    order: Vec<Vec<usize>>,
    losses: Vec<f64>,
}

fn reference() -> Reference {
    serde_json::from_slice(&std::fs::read(fixture("sft.json")).unwrap()).unwrap()
}

impl Reference {
    fn tokenizer(&self) -> Tokenizer {
        Tokenizer::from_json(&self.tokenizer, Path::new("sft.json")).unwrap()
    }

    /// The rows of the records with these numbers.
    fn rows_of(&self, tokenizer: &Tokenizer, numbers: &[usize]) -> RowSet {
        let record = |&number: &usize| {
            let PromptCompletion { prompt, completion } = &self.records[number];
            let body = Body::Completion {
                prompt: prompt.clone(),
                completion: completion.clone(),
            };
            let number = number as u64;
            Record::new(
                body,
                Origin::Made {
                    name: "sft",
                    number,
                },
            )
        };
        let records: Vec<Record> = numbers.iter().map(record).collect();
        let config = RowsConfig::default();
        let prompter = Prompter::new(&config.template, tokenizer, None, &[]).unwrap();
        RowSet::build(&records, &prompter, &config).unwrap()
    }

    fn model(&self, name: &str, device: &Device) -> Gpt {
        let folder = tempfile::tempdir().unwrap();
        let described = self.models[name].to_string();
        std::fs::write(folder.path().join("config.json"), described).unwrap();
        let config = read_config(folder.path()).unwrap();
        let filled = config.init_from(device, |spec| {
            Ok::<_, Infallible>(fixed_weight(&spec.path, &spec.shape))
        });
        filled.unwrap()
    }

    /// The micro-batches of a run, in its order.
    fn source(&self, run: &Run) -> InOrder {
        let tokenizer = self.tokenizer();
        let layout = if run.packed {
            Layout::Packed
        } else {
            Layout::Padded
        };
        let config = BatchesConfig {
            layout,
            max_epochs: Some(1),
            ..BatchesConfig::default()
        };
        let batches = run.order.chunks_exact(run.rows).map(|rows| {
            let numbers = rows.concat();
            let set = Arc::new(self.rows_of(&tokenizer, &numbers));
            let end = tokenizer.end_of_text();
            RowBatches::new(vec![set], &config, 96, run.rows, end, Seed(0)).unwrap()
        });
        InOrder(batches.collect())
    }

    fn trainer(&self, run: &Run) -> Trainer<Gpt, NextToken<InOrder>> {
        let device = Device::flex().autodiff();
        let settings = TrainSettings {
            trainer: TrainerConfig {
                max_steps: STEPS,
                micro_batch_size: MicroBatch::Rows(run.rows as u64),
                grad_accum_steps: run.micro_batches,
                max_grad_norm: self.settings.max_grad_norm,
                ..TrainerConfig::default()
            },
            optimizer: OptimizerConfig {
                peak_lr: self.settings.learning_rate,
                weight_decay: self.settings.weight_decay,
                beta1: self.settings.adam_beta1,
                beta2: self.settings.adam_beta2,
                eps: self.settings.adam_epsilon,
                ..OptimizerConfig::default()
            },
            schedule: ScheduleConfig {
                kind: ScheduleKind::Constant,
                warmup_steps: 0,
                ..ScheduleConfig::default()
            },
            ..TrainSettings::default()
        };
        let objective = NextToken::new(self.source(run), &settings.trainer, &device);
        let model = self.model(&run.model, &device);
        Trainer::new(model, objective, &settings, &device).unwrap()
    }
}

/// Batches one after another, again and again. Each is an epoch of its own data, since the order of an
/// epoch cannot be chosen; the order of rows within a batch changes nothing.
struct InOrder(Vec<RowBatches>);

impl TokenBatches for InOrder {
    fn batch(&self, n: u64, rows: usize) -> Option<RowBatch> {
        let batches = &self.0[n as usize % self.0.len()];
        assert_eq!(batches.total_rows(), Some(rows as u64));
        batches.batch(0, rows)
    }

    fn epochs(&self, rows: u64) -> f64 {
        let epoch: u64 = self.0.iter().filter_map(RowBatches::total_rows).sum();
        rows as f64 / epoch as f64
    }

    fn locate(&self, _n: u64, _facts: &mut [RowFacts]) {}
}

/// Sum of nats and tokens of a batch.
fn total(model: &Gpt, batch: &RowBatch) -> (f64, f64) {
    let loss = DeviceBatch::new(&batch.batch, &Device::flex()).loss(
        model,
        &CrossEntropyOptions::default(),
        &ForwardCtx::default(),
    );
    let total = loss.read();
    (total.nats, total.count)
}

#[test]
fn rows_have_the_ids_and_labels_of_trl() {
    let reference = reference();
    let numbers: Vec<usize> = (0..reference.records.len()).collect();
    let set = reference.rows_of(&reference.tokenizer(), &numbers);
    assert_eq!(set.rows().len(), reference.rows.len());
    for (row, expected) in set.rows().iter().zip(&reference.rows) {
        assert_eq!(*row.ids, *expected.ids);
        let trained = row.weights().map(|weight| weight > 0.0);
        assert!(trained.eq((0..row.ids.len()).map(|at| at >= expected.prompt)));
    }
}

#[test]
fn twenty_steps_have_the_losses_of_trl() {
    let reference = reference();
    for run in &reference.runs {
        let what = format!(
            "{}, {}, {} micro-batches of {}",
            run.model,
            if run.packed { "packed" } else { "padded" },
            run.micro_batches,
            run.rows
        );
        let mut trainer = reference.trainer(run);
        let mut largest: f64 = 0.0;
        for (step, expected) in run.losses.iter().enumerate() {
            let loss = trainer.step().unwrap().loss;
            largest = largest.max((loss - expected).abs());
            assert!(
                largest < TOLERANCE,
                "{what}, step {step}: {loss}, not {expected}"
            );
        }
        assert_eq!(trainer.steps(), STEPS);
        eprintln!("{what}: at most {largest:.1e} from trl");
    }
}

/// What the losses above would not let pass: a mean of the micro-batches' means, and packed rows that
/// see each other.
#[test]
fn other_ways_to_a_loss_are_told_apart() {
    let reference = reference();
    for run in &reference.runs {
        let (model, source) = (
            reference.model(&run.model, &Device::flex()),
            reference.source(run),
        );
        let step = |step: u64| -> Vec<RowBatch> {
            let micro = step * run.micro_batches..(step + 1) * run.micro_batches;
            micro.map(|n| source.batch(n, run.rows).unwrap()).collect()
        };
        let mean = |batches: &[RowBatch]| {
            let totals = batches.iter().map(|batch| total(&model, batch));
            let (nats, count) = totals.fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
            nats / count
        };
        let off = |loss: f64| (loss - run.losses[0]).abs();
        assert!(off(mean(&step(0))) < TOLERANCE);
        if run.micro_batches > 1 {
            let apart = (0..STEPS).map(step).map(|batches| {
                let means = batches.chunks(1).map(mean).sum::<f64>();
                (means / run.micro_batches as f64 - mean(&batches)).abs()
            });
            let apart = apart.fold(0.0, f64::max);
            assert!(apart > 10.0 * TOLERANCE, "{}: {apart}", run.model);
        }
        if run.packed {
            let changed = |change: fn(&mut Batch)| {
                let mut batches = step(0);
                for found in &mut batches {
                    change(&mut found.batch);
                }
                off(mean(&batches))
            };
            let open = changed(|batch| batch.segments.fill(0));
            assert!(open > 10.0 * TOLERANCE, "{}, segments: {open}", run.model);
            let long = changed(|batch| {
                let places = (0..batch.ids.len()).map(|at| (at % batch.seq) as u32);
                batch.positions = places.collect();
            });
            // A rotation sees the distance between two tokens alone.
            let is_off = long > TOLERANCE;
            assert_eq!(is_off, run.model == "gpt2", "positions: {long}");
        }
    }
}
