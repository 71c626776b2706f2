#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "unwrap is for tests"))]

mod base;
mod class_model;
mod classify;
mod data_files;
mod error;
mod export_place;
mod exporting;
mod gates;
mod hooks;
mod host;
mod instruct;
mod parts;
mod plan;
mod post_mortem;
mod prefix;
mod pretrain;
mod recipes;
mod resume;
mod rows;
mod run_config;
mod session;
mod stage;
mod trainable;
mod tuning;
mod weights;

pub use base::trained_base;
pub use class_model::{ClassModel, Classified};
pub use classify::{ClassWeighting, ClassesConfig, ClassifyConfig, classify, classify_parts};
pub use error::PipelineError;
pub use exporting::{Destination, ExportFormat, export};
pub use gates::GateConfig;
pub use hooks::{Sampling, Scoring, evaluator, sampler};
pub use host::{Host, Mode, ShowProgress, Told};
pub use instruct::{AnswersConfig, InstructConfig, instruct, instruct_parts};
pub use parts::{ModelStore, Parts, Preview, Results, Summarise};
pub use pretrain::{pretrain, pretrain_parts};
pub use recipes::PretrainConfig;
pub use rows::RowStyle;
pub use run_config::{RunAt, RunConfig, Tables};
pub use session::Session;
pub use stage::{End, ModelRef, Stage};
pub use trainable::{TrainableConfig, TrainableParts};
pub use weights::{find_weights, open_model};

/// The release of burn that this one is built on and tested with, pinned exactly.
pub const BURN_VERSION: &str = "0.22.1";

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_of_burn_is_the_one_pinned() {
        let manifest = include_str!("../../../Cargo.toml");
        let pin = format!("burn = {{ version = \"={}\"", super::BURN_VERSION);
        assert!(manifest.contains(&pin), "{pin}");
    }
}
