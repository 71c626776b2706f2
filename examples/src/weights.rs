//! `--model`: from a path to a model folder that is whole, and what it brings to a config.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use sinterlm::burn::module::Module;
use sinterlm::burn::tensor::Device;
use sinterlm::data::{Tokenizer, TokenizerConfig};
use sinterlm::eval::{PROBE_TEXT, load_probe};
use sinterlm::model::{Gpt, find_model, read_config};
use sinterlm::recipes::PretrainConfig;
use sinterlm::trainer::Checkpoint;

use crate::exit::say;

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

/// Scores a short text with loaded weights and says how well they do.
///
/// # Errors
/// Where published weights are no better than chance. Those of our own runs may be at their start.
pub(crate) fn probe_weights(
    model: &Gpt,
    tokenizer: &Tokenizer,
    path: &Path,
    device: &Device,
) -> Result<()> {
    let device = device.clone().without_autodiff();
    let probe = load_probe(&model.valid(), &tokenizer.encode(PROBE_TEXT), &device);
    say(format!("probe: {probe}"));
    let beside = |name: &str| path.join(name).is_file();
    if probe.is_trained() || beside("manifest.json") || beside("../run.json") {
        return Ok(());
    }
    bail!(
        "{}: the weights have {probe}; they are untrained, or not meant for this tokenizer or for \
         English text; leave --model out to start from fresh weights",
        path.display()
    )
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
