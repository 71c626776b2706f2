//! One optimizer step: micro-batches, accumulation, clipping, update. The loop around it is in
//! `run_loop`.

use burn::tensor::Device;
use sinterlm_config::{Seed, Stream};
use sinterlm_losses::TokenCount;
use sinterlm_model::{CausalLm, Checkpointing, ForwardCtx, Probe};
use sinterlm_run::PostMortem;

use crate::config::TrainerConfig;
use crate::ema::Ema;
use crate::error::TrainError;
use crate::first_step;
use crate::gradients::Gradients;
use crate::guard::Guard;
use crate::loss_scale::LossScale;
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
    pub(crate) guard: Guard,
    /// Whether the weights were drawn and not loaded, for the checks of the first step.
    fresh_weights: bool,
    /// What the last step leaves to tell: the look at a value that is not finite, and notes.
    pub(crate) post_mortem: Option<PostMortem>,
    pub(crate) notes: Vec<String>,
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
    /// Whether nothing was updated, since the loss or the gradient was not finite.
    pub skipped: bool,
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
        let guard = Guard::new(&config);
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
            guard,
            fresh_weights: false,
            post_mortem: None,
            notes: Vec::new(),
            saved_at: None,
        }
    }

    /// Says whether the weights were just drawn: then the first step holds the loss against that of a
    /// model which knows nothing.
    #[must_use]
    pub fn fresh_weights(mut self, fresh: bool) -> Self {
        self.fresh_weights = fresh;
        self
    }

    /// Takes the look at the last step's fault, where it had one that was looked at.
    pub fn take_post_mortem(&mut self) -> Option<PostMortem> {
        self.post_mortem.take()
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
    /// A step whose loss or gradient is not finite updates nothing. It is an error, or, as
    /// [`TrainerConfig::on_non_finite`] says and after an overflow in half precision, done: its data
    /// is passed over, and it counts as a step but for the moments' age and for trained tokens.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] before anything is updated; [`TrainError::NoTokens`];
    /// [`TrainError::FirstStep`]; whatever the objective's data can go wrong with.
    pub fn step(&mut self) -> Result<StepReport, TrainError> {
        (self.post_mortem, self.notes) = (None, Vec::new());
        let step = self.meters.steps;
        let updates = step - self.guard.skipped;
        let model = self.take_model();
        let computed = self.gradients(&model, step);
        self.model = Some(model);
        let Computed {
            gradients,
            loss,
            tokens,
            mut faults,
        } = computed?;
        let (norm, broken) = gradients.norm(self.model());
        let loss_scale = f64::from(self.guard.scale());
        let lr_factor = self.schedule.factor(step + 1, self.config.max_steps);
        let mut report = StepReport {
            step: step + 1,
            loss,
            tokens,
            lr: self.optimizer.config().peak_lr * lr_factor,
            grad_norm: norm / loss_scale,
            skipped: false,
            next: Next::Continue,
        };
        let fault = if loss.is_finite() {
            broken.map(|path| format!("the gradient of {path}"))
        } else {
            Some("the loss".to_owned())
        };
        if let Some(fault) = fault {
            drop(gradients);
            self.pass_over(fault, loss.is_finite())?;
            report.skipped = true;
        } else {
            let before = if self.config.first_step_checks && updates == 0 {
                if self.fresh_weights {
                    let vocab_size = self.model().head().weight.dims()[0];
                    first_step::check_loss(loss, vocab_size, &mut faults);
                }
                let before = first_step::check_gradients(self.model(), &gradients, &mut faults);
                refuse(faults)?;
                Some(before)
            } else {
                None
            };
            let max_norm = self.config.max_grad_norm;
            let clip = if max_norm > 0.0 && report.grad_norm > max_norm {
                max_norm / report.grad_norm
            } else {
                1.0
            };
            let update = Update {
                step: updates + 1,
                lr_factor,
                grad_scale: (clip / loss_scale) as f32,
                precision: self.config.precision.matmul(),
            };
            let model = self.take_model();
            let model = self.optimizer.step(model, gradients, &update);
            if let Some(ema) = &mut self.ema {
                ema.update(&model, updates + 1);
            }
            if let Some(before) = before {
                let mut faults = Vec::new();
                first_step::check_update(&model, &before, report.lr, &mut faults);
                self.model = Some(model);
                refuse(faults)?;
            } else {
                self.model = Some(model);
            }
            self.meters.tokens += tokens;
        }
        self.meters.steps += 1;
        if !report.skipped {
            self.updated(loss);
        }
        report.next = self.objective.after_step(step + 1);
        Ok(report)
    }

    /// The step's gradients, loss and tokens.
    fn gradients(&mut self, model: &M, step: u64) -> Result<Computed, TrainError> {
        self.objective.prepare(model, step)?;
        let micro_batches = self.micro_batches(step)?;
        let total: TokenCount = micro_batches.iter().map(|b| self.objective.count(b)).sum();
        if total.get() == 0.0 {
            return Err(TrainError::NoTokens { step: step + 1 });
        }
        let mut faults = Vec::new();
        if self.config.first_step_checks && step == 0 {
            for (micro, batch) in micro_batches.iter().enumerate() {
                first_step::check_rows(micro, &self.objective.rows(batch), &mut faults);
            }
        }
        let mut gradients = Gradients::default();
        let mut loss = 0.0;
        for (micro, batch) in (0..).zip(&micro_batches) {
            let at = At { step, micro };
            loss += self.pass(model, at, batch, total, None, &mut gradients);
        }
        Ok(Computed {
            gradients,
            loss,
            tokens: total.get(),
            faults,
        })
    }

    /// The batches of a step.
    pub(crate) fn micro_batches(&self, step: u64) -> Result<Vec<O::Batch>, TrainError> {
        (0..self.config.grad_accum_steps)
            .map(|micro| self.objective.batch(At { step, micro }))
            .collect()
    }

    /// Forward and backward pass of one micro-batch: adds its gradients, of the scaled loss, and
    /// gives its share of the step's loss.
    pub(crate) fn pass(
        &self,
        model: &M,
        at: At,
        batch: &O::Batch,
        total: TokenCount,
        probe: Option<&Probe>,
        gradients: &mut Gradients,
    ) -> f64 {
        let checkpointing = self.config.activation_checkpointing;
        let ctx = ForwardCtx {
            precision: self.config.precision,
            dropout_key: Some(self.seed.key(Stream::Dropout, at.step, at.micro, 0)),
            checkpointing: checkpointing.then(Checkpointing::default),
            probe: probe.cloned(),
        };
        let share = self.objective.loss(model, batch, total, &ctx);
        ctx.see(|| "loss".to_owned(), &share);
        let mut tape = match self.guard.loss_scale {
            Some(LossScale { scale, .. }) => share.clone().mul_scalar(scale).backward(),
            None => share.backward(),
        };
        ctx.checkpointing
            .unwrap_or_default()
            .backward(&mut tape, |tape| gradients.accumulate(model, tape));
        // Read after the backward pass was queued, so that a GPU isn't left waiting.
        f64::from(share.into_scalar::<f32>())
    }

    fn take_model(&mut self) -> M {
        self.model
            .take()
            .expect("the model is away only inside a step")
    }
}

/// What the forward and backward passes of a step gave.
struct Computed {
    /// Of the scaled loss.
    gradients: Gradients,
    loss: f64,
    tokens: f64,
    /// What the checks of a first step found so far.
    faults: Vec<String>,
}

fn refuse(faults: Vec<String>) -> Result<(), TrainError> {
    if faults.is_empty() {
        return Ok(());
    }
    Err(TrainError::FirstStep { faults })
}
