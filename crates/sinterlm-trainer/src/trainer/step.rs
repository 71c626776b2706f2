//! One optimizer step: micro-batches, accumulation, clipping, update.

use burn::module::Module;
use burn::tensor::Tensor;
use sinterlm_config::Stream;
use sinterlm_losses::Counts;
use sinterlm_model::{Checkpointing, ForwardCtx, Probe};

use super::Trainer;
use crate::error::TrainError;
use crate::figures::{Figures, Named, StepFigures};
use crate::first_step;
use crate::gradients::Gradients;
use crate::loss_scale::LossScale;
use crate::objective::{At, Next, Objective};
use crate::optimizer::Update;

impl<M: Module, O: Objective<M>> Trainer<M, O> {
    /// Does one optimizer step over `grad_accum_steps` micro-batches.
    ///
    /// The loss of the step is the weighted mean over the tokens of all its micro-batches, so
    /// that their number changes nothing but memory.
    ///
    /// A step whose loss or gradient is not finite updates nothing. It is an error, or, as
    /// [`on_non_finite`](crate::TrainerConfig::on_non_finite) says and after an overflow in half precision, done: its data
    /// is passed over, and it counts as a step but for the moments' age and for trained tokens.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] before anything is updated; [`TrainError::NoTokens`];
    /// [`TrainError::FirstStep`]; whatever the objective's data can go wrong with.
    pub fn step(&mut self) -> Result<StepFigures, TrainError> {
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
            named,
            mut faults,
        } = computed?;
        let (norm, broken) = gradients.norm(self.model());
        let loss_scale = f64::from(self.guard.scale());
        let lr_factor = self.schedule.factor(step + 1, self.config.max_steps);
        let mut seen = StepFigures {
            step: step + 1,
            loss,
            tokens,
            lr: self.optimizer.config().peak_lr * lr_factor,
            grad_norm: norm / loss_scale,
            skipped: false,
            named,
        };
        let fault = if loss.is_finite() {
            broken.map(|path| format!("the gradient of {path}"))
        } else {
            Some("the loss".to_owned())
        };
        if let Some(fault) = fault {
            drop(gradients);
            self.pass_over(fault, loss.is_finite())?;
            seen.skipped = true;
        } else {
            let before = if self.config.first_step_checks && updates == 0 {
                if let Some(expected) = self.objective.first_loss(self.model()) {
                    first_step::check_loss(loss, expected, &mut faults);
                }
                let (model, trainable) = (self.model(), &self.trainable);
                let before = first_step::check_gradients(model, trainable, &gradients, &mut faults);
                refuse(faults)?;
                Some(before)
            } else {
                None
            };
            let max_norm = self.config.max_grad_norm;
            let clip = if max_norm > 0.0 && seen.grad_norm > max_norm {
                max_norm / seen.grad_norm
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
                ema.update(&model, &self.trainable, updates + 1);
            }
            if let Some(before) = before {
                let mut faults = Vec::new();
                first_step::check_update(&model, &before, seen.lr, &mut faults);
                self.model = Some(model);
                refuse(faults)?;
            } else {
                self.model = Some(model);
            }
            self.meters.tokens += tokens;
        }
        self.meters.steps += 1;
        if !seen.skipped {
            self.updated(loss);
        }
        self.meters.is_over = self.objective.after_step(step + 1, &seen) == Next::Stop;
        Ok(seen)
    }

    /// The step's gradients, loss and tokens.
    fn gradients(&mut self, model: &M, step: u64) -> Result<Computed, TrainError> {
        let mut figures = Figures::default();
        self.objective
            .prepare(model, step, &mut figures, &mut self.samples)?;
        let micro_batches = self.micro_batches(step)?;
        let total = self.total(&micro_batches);
        if total == Counts::default() {
            return Err(TrainError::NoTokens { step: step + 1 });
        }
        let mut faults = Vec::new();
        if self.config.first_step_checks && step == 0 {
            for (micro, batch) in micro_batches.iter().enumerate() {
                first_step::check_rows(micro, &self.objective.rows(batch), &mut faults);
            }
        }
        let mut gradients = Gradients::default();
        let mut shares = Vec::with_capacity(micro_batches.len());
        for (micro, batch) in (0..).zip(&micro_batches) {
            let mut pass = Pass {
                at: At { step, micro },
                total,
                probe: None,
                gradients: &mut gradients,
                figures: &mut figures,
            };
            shares.push(self.pass(model, batch, &mut pass));
        }
        // Read after all passes were queued, so that a GPU isn't left waiting.
        let (loss, named) = figures.read(shares);
        Ok(Computed {
            gradients,
            loss,
            tokens: total.tokens,
            named,
            faults,
        })
    }

    /// What the losses of a step are divided by. With several processes, their counts are summed here
    /// and their gradients behind `accumulate`.
    pub(super) fn total(&self, micro_batches: &[O::Batch]) -> Counts {
        let counts = micro_batches.iter().map(|b| self.objective.counts(b));
        counts.sum()
    }

    /// The batches of a step.
    pub(super) fn micro_batches(&self, step: u64) -> Result<Vec<O::Batch>, TrainError> {
        (0..self.config.grad_accum_steps)
            .map(|micro| self.objective.batch(At { step, micro }))
            .collect()
    }

    /// Forward and backward pass of one micro-batch: adds its gradients, of the scaled loss, and its
    /// figures, and gives its share of the step's loss, `[1]`, which the device may still be at.
    pub(super) fn pass(&self, model: &M, batch: &O::Batch, pass: &mut Pass<'_>) -> Tensor<1> {
        let At { step, micro } = pass.at;
        let checkpointing = self.config.activation_checkpointing;
        let ctx = ForwardCtx {
            precision: self.config.precision,
            dropout_key: Some(self.seed.key(Stream::Dropout, step, micro, 0)),
            checkpointing: checkpointing.then(Checkpointing::default),
            probe: pass.probe.cloned(),
            ..ForwardCtx::default()
        };
        let objective = &self.objective;
        let share = objective.loss(model, batch, &pass.total, &ctx, pass.figures);
        ctx.see(|| "loss".to_owned(), &share);
        let value = share.clone().without_autodiff();
        let mut tape = match self.guard.loss_scale {
            Some(LossScale { scale, .. }) => share.mul_scalar(scale).backward(),
            None => share.backward(),
        };
        let (trainable, gradients) = (&self.trainable, &mut *pass.gradients);
        ctx.checkpointing
            .unwrap_or_default()
            .backward(&mut tape, |tape| {
                gradients.accumulate(model, trainable, tape);
            });
        value
    }

    pub(super) fn take_model(&mut self) -> M {
        self.model
            .take()
            .expect("the model is away only inside a step")
    }
}

/// One forward and backward pass: where it stands, and what it adds to.
pub(super) struct Pass<'a> {
    pub(super) at: At,
    pub(super) total: Counts,
    pub(super) probe: Option<&'a Probe>,
    pub(super) gradients: &'a mut Gradients,
    pub(super) figures: &'a mut Figures,
}

/// What the forward and backward passes of a step gave.
struct Computed {
    /// Of the scaled loss.
    gradients: Gradients,
    loss: f64,
    tokens: f64,
    named: Named,
    /// What the checks of a first step found so far.
    faults: Vec<String>,
}

fn refuse(faults: Vec<String>) -> Result<(), TrainError> {
    if faults.is_empty() {
        return Ok(());
    }
    Err(TrainError::FirstStep { faults })
}
