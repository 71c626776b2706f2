//! The tables of a run config that the step loop reads, one file each.

mod checkpoint;
mod eval;
mod log;
mod loss;
mod trainer;

pub use checkpoint::CheckpointConfig;
pub use eval::EvalConfig;
pub use log::LogConfig;
pub use loss::LossConfig;
pub use trainer::{MicroBatch, TrainerConfig};
