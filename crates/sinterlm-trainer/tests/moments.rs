//! Compact optimizer state: training that hardly differs, in less memory.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use burn::tensor::{Device, Tensor};
use sinterlm_config::Seed;
use sinterlm_data::{Batch, TokenStore, Tokenizer, TrainWindows, ValidWindows};
use sinterlm_eval::loss_over;
use sinterlm_losses::{Counts, CrossEntropyOptions};
use sinterlm_model::{ForwardCtx, Gpt, GptConfig};
use sinterlm_testkit::{peak_bytes, tiny_stories};
use sinterlm_text::DeviceBatch;
use sinterlm_trainer::{
    At, Figures, MicroBatch, Moments, NextToken, Objective, OptimizerConfig, OptimizerKind,
    ScheduleConfig, TrainError, TrainSettings, Trainer, TrainerConfig,
};

const SEED: Seed = Seed(5);
const SEQ: usize = 16;

/// Mean training loss of the last ten of sixty steps, and the validation loss behind them.
fn train(kind: OptimizerKind, moments: Moments) -> [f64; 2] {
    let tokenizer = Tokenizer::train_bpe(tiny_stories(), 300).expect("enough text");
    let store = TokenStore::from_documents(&tokenizer, tiny_stories());
    let device = Device::flex().autodiff();
    let model = GptConfig {
        vocab_size: tokenizer.vocab_size(),
        max_seq_len: SEQ,
        d_model: 32,
        n_layers: 2,
        n_heads: 2,
        ..GptConfig::default()
    };
    let config = TrainerConfig {
        max_steps: 60,
        micro_batch_size: MicroBatch::Rows(8),
        ..TrainerConfig::default()
    };
    let optimizer = OptimizerConfig {
        kind,
        moments,
        peak_lr: 5e-3,
        ..OptimizerConfig::default()
    };
    let schedule = ScheduleConfig {
        warmup_steps: 5,
        ..ScheduleConfig::default()
    };
    let windows = TrainWindows::new(store.clone(), SEQ, SEED).expect("enough tokens");
    let mut trainer = Trainer::new(
        model.init(SEED, &device),
        NextToken::new(windows, &config, &device),
        &TrainSettings {
            trainer: config,
            optimizer,
            schedule,
            seed: SEED,
        },
        &device,
    )
    .unwrap();
    let losses: Vec<f64> = (0..60).map(|_| trainer.step().unwrap().loss).collect();
    let valid = ValidWindows::new(store, SEQ).unwrap();
    let (model, ctx) = (trainer.export(), ForwardCtx::default());
    let valid = loss_over(&model, valid.batches(4), &ctx, &Device::flex());
    [
        losses[50..].iter().sum::<f64>() / 10.0,
        valid.mean().unwrap(),
    ]
}

#[test]
fn the_loss_stays_with_that_of_f32_moments() {
    for kind in [
        OptimizerKind::AdamW,
        OptimizerKind::Muon,
        OptimizerKind::Lion,
    ] {
        let exact = train(kind, Moments::F32);
        assert!(exact[1] < 5.0, "{exact:?}");
        for (moments, allowed) in [(Moments::Bf16, 0.002), (Moments::Int8, 0.01)] {
            let compact = train(kind, moments);
            for (exact, compact) in exact.iter().zip(compact) {
                let off = (compact - exact).abs();
                assert!(
                    off < allowed,
                    "{kind:?}, {moments:?}: {compact} against {exact}"
                );
                assert!(off > 0.0, "{kind:?}, {moments:?}: nothing was rounded");
            }
        }
    }
}

/// A batch of one token, so that weights, gradients and moments are all that takes memory.
struct OneToken(Device);

impl Objective<Gpt> for OneToken {
    type Batch = Batch;

    fn batch(&self, _at: At) -> Result<Batch, TrainError> {
        let mut batch = Batch::padded(1, 1, 0);
        batch.weights.fill(1.0);
        Ok(batch)
    }

    fn counts(&self, batch: &Batch) -> Counts {
        Counts::of_tokens(batch.token_count())
    }

    fn loss(
        &self,
        model: &Gpt,
        batch: &Batch,
        step: &Counts,
        ctx: &ForwardCtx,
        _figures: &mut Figures,
    ) -> Tensor<1> {
        DeviceBatch::new(batch, &self.0)
            .loss(model, &CrossEntropyOptions::default(), ctx)
            .share_of(step.tokens)
    }
}

#[test]
fn a_step_holds_weights_gradients_and_moments_once_and_no_copy() {
    let config = GptConfig {
        vocab_size: 256,
        max_seq_len: 1,
        d_model: 512,
        n_layers: 3,
        ..GptConfig::default()
    };
    let test = "a_step_holds_weights_gradients_and_moments_once_and_no_copy";
    let peaks = peak_bytes(test, ["start", "f32", "int8"], |mode| {
        let device = Device::flex().autodiff();
        let optimizer = OptimizerConfig {
            moments: match mode {
                "int8" => Moments::Int8,
                _ => Moments::F32,
            },
            ..OptimizerConfig::default()
        };
        let mut trainer = Trainer::new(
            config.init(SEED, &device),
            OneToken(device.clone()),
            &TrainSettings {
                trainer: TrainerConfig::default(),
                optimizer,
                schedule: ScheduleConfig::default(),
                seed: SEED,
            },
            &device,
        )
        .unwrap();
        for _ in 0..if mode == "start" { 0 } else { 2 } {
            trainer.step().unwrap();
            drop(trainer.export()); // as an evaluation between the steps
        }
    });
    let Some([start, f32, int8]) = peaks else {
        return;
    };
    let weights = 4.0 * config.parameters().total as f64;
    let [f32, int8] = [f32, int8].map(|peak| (peak as f64 - start as f64) / weights);
    // Gradients once, moments twice in f32 and half a time in 8 bits; a tenth for products.
    assert!((2.7..3.4).contains(&f32), "{f32} times the weights");
    assert!((1.2..1.9).contains(&int8), "{int8} times the weights");
}
