#![doc = include_str!("../README.md")]

mod checkpoint;
mod config;
mod ema;
mod error;
mod first_step;
mod gradients;
mod guard;
mod hooks;
mod loss_scale;
mod memory;
mod next_token;
mod objective;
mod optimizer;
mod post_mortem;
mod run_loop;
mod saver;
mod schedule;
mod spikes;
mod state;
mod trainer;

pub use checkpoint::{
    Checkpoint, find_checkpoint, find_checkpoint_until, list_checkpoints, set_aside_broken,
};
pub use config::{CheckpointConfig, EvalConfig, LogConfig, MicroBatch, TrainerConfig, Trigger};
pub use error::TrainError;
pub use guard::OnNonFinite;
pub use hooks::{
    Checkpoints, Evaluate, Hooks, Keep, OnSave, Outcome, Sample, SaveModel, StopCause,
};
pub use memory::{MemoryEstimate, StepSize, training_memory};
pub use next_token::NextToken;
pub use objective::{At, Next, Objective};
pub use optimizer::{Moments, Optimizer, OptimizerConfig, OptimizerKind, OptimizerMemory, Update};
pub use schedule::{ScheduleConfig, ScheduleKind};
pub use state::{HostTensor, TrainState};
pub use trainer::{StepReport, Trainer};
