#![doc = include_str!("../README.md")]

mod best;
mod budget;
mod checkpoint;
mod class_rows;
mod classes;
mod config;
mod ema;
mod error;
mod figures;
mod first_step;
mod gradients;
mod guard;
mod hooks;
mod keep;
mod loss_scale;
mod memory;
mod meters;
mod next_token;
mod non_finite;
mod objective;
mod optimizer;
mod saver;
mod schedule;
mod spikes;
mod state;
mod token_batches;
mod trainable;
mod trainer;
mod trigger;

pub use best::{Best, Goal};
pub use budget::{Budget, StepCosts};
pub use checkpoint::{
    Checkpoint, find_checkpoint, find_checkpoint_until, list_checkpoints, set_aside_broken,
};
pub use class_rows::{ClassRow, ClassRows};
pub use classes::{ClassBatch, Classes};
pub use config::{CheckpointConfig, EvalConfig, LogConfig, LossConfig, MicroBatch, TrainerConfig};
pub use error::TrainError;
pub use figures::{Figures, Samples, StepFigures};
pub use hooks::{
    Checkpoints, Evaluate, Hooks, OnSave, Outcome, Sample, SaveModel, Scope, StopCause,
};
pub use keep::Keep;
pub use memory::{MemoryEstimate, StepSize, Trained, training_memory};
pub use next_token::NextToken;
pub use non_finite::OnNonFinite;
pub use objective::{At, Next, Objective};
pub use optimizer::{
    Moments, Optimizer, OptimizerConfig, OptimizerKind, OptimizerMemory, ParamGroup, Update,
};
pub use schedule::{ScheduleConfig, ScheduleKind};
pub use state::{HostTensor, TrainState};
pub use token_batches::TokenBatches;
pub use trainer::{TrainSettings, Trainer};
pub use trigger::{Progress, Trigger};
