//! `--model`: from a path to a model folder that is whole, and what it brings to a config.

use std::path::{Path, PathBuf};

use anyhow::Result;
use sinterlm::data::TokenizerConfig;
use sinterlm::model::{find_model, read_config};
use sinterlm::recipes::PretrainConfig;
use sinterlm::trainer::Checkpoint;

/// The model folder that `path` means; a checkpoint is held against its manifest.
///
/// # Errors
/// Where there is no model, or the checkpoint is damaged.
pub fn find_weights(path: &Path) -> Result<PathBuf> {
    let folder = std::path::absolute(find_model(path)?)?;
    if folder.join("manifest.json").is_file() {
        Checkpoint::verify(&folder)?;
    }
    Ok(folder)
}

/// Puts the weights that a config names in place of its own model and tokenizer: ids mean
/// something else in every trained tokenizer.
pub(crate) fn take_weights(config: &mut PretrainConfig) -> Result<()> {
    let Some(path) = &config.weights else {
        return Ok(());
    };
    let folder = find_weights(path)?;
    let dropout = config.model.dropout;
    config.model = read_config(&folder)?;
    config.model.dropout = dropout;
    let path = folder.join("tokenizer.json");
    if path.is_file() && !matches!(config.tokenizer, TokenizerConfig::File { .. }) {
        config.tokenizer = TokenizerConfig::File { path };
    }
    config.weights = Some(folder);
    Ok(())
}
