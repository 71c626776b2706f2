//! The trainer: what it is made of. A step is in `step`, what is done about a broken one in `judge` and
//! `examine`, the loop around the steps in `run`, its length in time in `budget`, its state in `resume`.

mod budget;
mod examine;
mod judge;
mod resume;
mod run;
mod step;

use burn::module::Module;
use burn::tensor::Device;
use sinterlm_config::Seed;
use sinterlm_run::PostMortem;

use crate::best::Evaluations;
use crate::config::TrainerConfig;
use crate::ema::Ema;
use crate::error::TrainError;
use crate::figures::Samples;
use crate::guard::Guard;
use crate::meters::Meters;
use crate::objective::Objective;
use crate::optimizer::{Optimizer, OptimizerConfig};
use crate::schedule::ScheduleConfig;
use crate::trainable::{Trainable, all_paths};

/// How a model is trained, whatever the objective.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainSettings {
    /// Step loop.
    pub trainer: TrainerConfig,
    /// Update rule.
    pub optimizer: OptimizerConfig,
    /// Learning rate over the run.
    pub schedule: ScheduleConfig,
    /// What dropout and the objective's draws descend from.
    pub seed: Seed,
}

/// Trains a model towards an objective, one optimizer step at a time.
#[derive(Debug)]
pub struct Trainer<M, O> {
    /// `None` only while a step moves it.
    model: Option<M>,
    objective: O,
    /// What of the model is trained.
    trainable: Trainable,
    optimizer: Optimizer,
    schedule: ScheduleConfig,
    config: TrainerConfig,
    seed: Seed,
    device: Device,
    ema: Option<Ema>,
    meters: Meters,
    evaluations: Evaluations,
    guard: Guard,
    /// What the last step leaves to tell: the look at a value that is not finite, notes and texts.
    post_mortem: Option<PostMortem>,
    notes: Vec<String>,
    samples: Samples,
    /// Step of the newest checkpoint that this run wrote or came from.
    saved_at: Option<u64>,
}

impl<M: Module, O: Objective<M>> Trainer<M, O> {
    /// A trainer at step 0. `model` must live on an autodiff device.
    ///
    /// It trains the parameters that require a gradient and that `trainer.train_only` and
    /// `trainer.freeze` leave over; the others are frozen and take no memory but their own.
    ///
    /// # Errors
    /// [`TrainError::Selection`] for a pattern that matches no parameter;
    /// [`TrainError::NothingToTrain`].
    ///
    /// # Panics
    /// If `device` is not an autodiff device: nothing would be trained.
    pub fn new(
        model: M,
        objective: O,
        settings: &TrainSettings,
        device: &Device,
    ) -> Result<Self, TrainError> {
        assert!(device.is_autodiff(), "Trainer::new: use device.autodiff()");
        let config = TrainerConfig {
            precision: settings.trainer.precision.on(device),
            ..settings.trainer.clone()
        };
        // Parameters that burn has not drawn yet are drawn now, in the order of the module.
        let (only, freeze) = (&config.train_only, &config.freeze);
        let (model, trainable) = Trainable::select(model.materialize(), only, freeze)?;
        let mut optimizer = Optimizer::new(settings.optimizer.clone());
        optimizer.form_groups(&all_paths(&model))?;
        let guard = Guard::new(&config);
        let ema = (config.ema_decay > 0.0).then(|| Ema::new(config.ema_decay));
        Ok(Self {
            model: Some(model),
            objective,
            trainable,
            optimizer,
            schedule: settings.schedule.clone(),
            config,
            seed: settings.seed,
            device: device.clone(),
            ema,
            meters: Meters::default(),
            evaluations: Evaluations::default(),
            guard,
            post_mortem: None,
            notes: Vec::new(),
            samples: Samples::default(),
            saved_at: None,
        })
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
}
