#![doc = include_str!("../README.md")]

pub use burn;
pub use sinterlm_config as config;
pub use sinterlm_data as data;
pub use sinterlm_eval as eval;
pub use sinterlm_formats as formats;
pub use sinterlm_kernels as kernels;
pub use sinterlm_losses as losses;
pub use sinterlm_model as model;
pub use sinterlm_pipeline as pipeline;
pub use sinterlm_pipeline::BURN_VERSION;
pub use sinterlm_run as run;
pub use sinterlm_text as text;
pub use sinterlm_trainer as trainer;

/// The run configs of the pipelines, as plain data composed of the crates' own tables.
pub mod recipes {
    pub use sinterlm_pipeline::{ClassifyConfig, InstructConfig, PretrainConfig};
}
