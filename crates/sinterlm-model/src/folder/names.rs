//! Names of the files in a model folder, and of what all families call alike.

pub(super) const WEIGHTS: &str = "model.safetensors";
pub(super) const CONFIG: &str = "config.json";
pub(super) const GENERATION_CONFIG: &str = "generation_config.json";

/// The only parameter of a class head, also by its path.
pub(super) const SCORE: &str = "score.weight";
