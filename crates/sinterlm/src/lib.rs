#![doc = include_str!("../README.md")]

pub mod recipes;

pub use burn;
pub use sinterlm_config as config;
pub use sinterlm_data as data;
pub use sinterlm_eval as eval;
pub use sinterlm_formats as formats;
pub use sinterlm_kernels as kernels;
pub use sinterlm_losses as losses;
pub use sinterlm_model as model;
pub use sinterlm_run as run;
pub use sinterlm_trainer as trainer;
