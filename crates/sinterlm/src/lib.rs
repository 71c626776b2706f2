#![doc = include_str!("../README.md")]

#[path = "../../sinterlm-pipeline/src/recipes.rs"]
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
pub use sinterlm_text as text;
pub use sinterlm_trainer as trainer;

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
