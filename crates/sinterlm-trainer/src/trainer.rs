//! One optimizer step: micro-batches, accumulation, clipping, update. The loop around it is in
//! `run_loop`.

use burn::tensor::Device;
use sinterlm_config::{Seed, Stream};
use sinterlm_losses::TokenCount;
use sinterlm_model::{CausalLm, Checkpointing, ForwardCtx};

use crate::config::TrainerConfig;
use crate::ema::Ema;
use crate::error::TrainError;
use crate::gradients::Gradients;
use crate::objective::{At, Next, Objective};
use crate::optimizer::{Optimizer, OptimizerConfig, Update};
use crate::schedule::ScheduleConfig;

/// Trains a model towards an objective, one optimizer step at a time.
#[derive(Debug)]
pub struct Trainer<M, O> {
    /// `None` only while a step moves it.
    pub(crate) model: Option<M>,
    pub(crate) objective: O,
    pub(crate) optimizer: Optimizer,
    pub(crate) schedule: ScheduleConfig,
    pub(crate) config: TrainerConfig,
    pub(crate) seed: Seed,
    pub(crate) device: Device,
    pub(crate) ema: Option<Ema>,
    pub(crate) meters: Meters,
    /// Step of the newest checkpoint that this run wrote or came from.
    pub(crate) saved_at: Option<u64>,
}

/// Where the run is; part of its state.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Meters {
    /// Finished optimizer steps.
    pub(crate) steps: u64,
    /// Trained tokens.
    pub(crate) tokens: f64,
    /// Seconds spent, over all sessions of the run.
    pub(crate) seconds: f64,
    /// Lowest validation loss so far, its step, and evaluations since.
    pub(crate) best_loss: Option<f64>,
    pub(crate) best_step: u64,
    pub(crate) since_best: u64,
    /// Tokens since the last line of metrics, and their summed loss.
    pub(crate) interval_tokens: f64,
    pub(crate) interval_nats: f64,
    /// The objective has ended the run.
    pub(crate) is_over: bool,
}

/// What one optimizer step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Number of the step, from 1.
    pub step: u64,
    /// Loss before the update, per token of the step, in nats.
    pub loss: f64,
    /// Tokens of the step that carried loss.
    pub tokens: f64,
    /// Learning rate of the step: the schedule's factor on `peak_lr`.
    pub lr: f64,
    /// Euclidean norm of all gradients, before clipping.
    pub grad_norm: f64,
    /// What the objective says about going on.
    pub next: Next,
}

impl<M: CausalLm, O: Objective<M>> Trainer<M, O> {
    /// A trainer at step 0. `model` must live on an autodiff device.
    ///
    /// # Panics
    /// If `device` is not an autodiff device: nothing would be trained.
    pub fn new(
        model: M,
        objective: O,
        config: TrainerConfig,
        optimizer: OptimizerConfig,
        schedule: ScheduleConfig,
        seed: Seed,
        device: &Device,
    ) -> Self {
        assert!(device.is_autodiff(), "Trainer::new: use device.autodiff()");
        let config = TrainerConfig {
            precision: config.precision.on(device),
            ..config
        };
        let ema = (config.ema_decay > 0.0).then(|| Ema::new(config.ema_decay));
        Self {
            model: Some(model),
            objective,
            optimizer: Optimizer::new(optimizer),
            schedule,
            config,
            seed,
            device: device.clone(),
            ema,
            meters: Meters::default(),
            saved_at: None,
        }
    }

    /// Finished optimizer steps.
    pub fn steps(&self) -> u64 {
        self.meters.steps
    }

    /// Trained tokens.
    pub fn tokens(&self) -> u64 {
        self.meters.tokens as u64
    }

    /// The model under training.
    pub fn model(&self) -> &M {
        self.model
            .as_ref()
            .expect("the model is away only inside a step")
    }

    /// The model to evaluate and export, without autodiff: the moving average of the weights
    /// where one is kept. Drop it before the next step, or the update has to copy.
    pub fn export(&self) -> M {
        let plain = self.model().valid();
        match &self.ema {
            Some(ema) if self.meters.steps > 0 => ema.apply(plain),
            _ => plain,
        }
    }

    /// Does one optimizer step over `grad_accum_steps` micro-batches.
    ///
    /// The loss of the step is the weighted mean over the tokens of all its micro-batches, so
    /// that their number changes nothing but memory.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] before anything is updated; [`TrainError::NoTokens`]; whatever
    /// the objective's data can go wrong with.
    pub fn step(&mut self) -> Result<StepReport, TrainError> {
        let step = self.meters.steps;
        let model = self
            .model
            .take()
            .expect("the model is away only inside a step");
        let computed = self.gradients(&model, step);
        let (gradients, loss, tokens) = match computed {
            Ok(computed) => computed,
            Err(error) => {
                self.model = Some(model);
                return Err(error);
            }
        };
        let (grad_norm, broken) = gradients.norm(&model);
        let what = if loss.is_finite() {
            broken
        } else {
            Some("the loss".to_owned())
        };
        if let Some(what) = what {
            self.model = Some(model);
            return Err(TrainError::NotFinite {
                step: step + 1,
                what,
            });
        }

        let max_norm = self.config.max_grad_norm;
        let grad_scale = if max_norm > 0.0 && grad_norm > max_norm {
            max_norm / grad_norm
        } else {
            1.0
        };
        let lr_factor = self.schedule.factor(step + 1, self.config.max_steps);
        let update = Update {
            step: step + 1,
            lr_factor,
            grad_scale: grad_scale as f32,
            precision: self.config.precision.matmul(),
        };
        let model = self.optimizer.step(model, gradients, &update);
        if let Some(ema) = &mut self.ema {
            ema.update(&model, step + 1);
        }
        self.model = Some(model);
        self.meters.steps += 1;
        self.meters.tokens += tokens;
        let next = self.objective.after_step(step + 1);
        let lr = self.optimizer.config().peak_lr * lr_factor;
        Ok(StepReport {
            step: step + 1,
            loss,
            tokens,
            lr,
            grad_norm,
            next,
        })
    }

    /// The step's gradients, loss and tokens.
    fn gradients(&mut self, model: &M, step: u64) -> Result<(Gradients, f64, f64), TrainError> {
        self.objective.prepare(model, step)?;
        let micro_batches = (0..self.config.grad_accum_steps)
            .map(|micro| self.objective.batch(At { step, micro }))
            .collect::<Result<Vec<_>, _>>()?;
        let total: TokenCount = micro_batches.iter().map(|b| self.objective.count(b)).sum();
        if total.get() == 0.0 {
            return Err(TrainError::NoTokens { step: step + 1 });
        }
        let mut gradients = Gradients::default();
        let mut loss = 0.0;
        let checkpointing = self.config.activation_checkpointing;
        for (micro, batch) in micro_batches.iter().enumerate() {
            let ctx = ForwardCtx {
                precision: self.config.precision,
                dropout_key: Some(self.seed.key(Stream::Dropout, step, micro as u64, 0)),
                checkpointing: checkpointing.then(Checkpointing::default),
            };
            let share = self.objective.loss(model, batch, total, &ctx);
            let mut tape = share.backward();
            ctx.checkpointing
                .unwrap_or_default()
                .backward(&mut tape, |tape| gradients.accumulate(model, tape));
            // Read after the backward pass was queued, so that a GPU isn't left waiting.
            loss += f64::from(share.into_scalar::<f32>());
        }
        Ok((gradients, loss, total.get()))
    }
}
