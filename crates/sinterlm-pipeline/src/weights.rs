//! `--model`: from a path, or a name on the Hub, to a model folder that is whole, and what it brings to
//! a config.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use sinterlm::burn::module::Module;
use sinterlm::burn::tensor::Device;
use sinterlm::data::{Hub, HubModel, Tokenizer, TokenizerConfig};
use sinterlm::eval::{PROBE_TEXT, load_probe};
use sinterlm::model::{Gpt, find_model, read_config};
use sinterlm::recipes::PretrainConfig;
use sinterlm::trainer::Checkpoint;

use crate::exit::say;

/// The model folder or file that `path` means: on this machine, or on the Hub, as `owner/name` or
/// `hub:owner/name[@revision][/FILE.gguf]`. A checkpoint is held against its manifest.
///
/// # Errors
/// Where there is no model, the checkpoint is damaged, or the model cannot be fetched.
pub(crate) fn find_weights(path: &Path, is_offline: bool) -> Result<PathBuf> {
    if let Some(model) = on_hub(path)? {
        let what = format!("{}: no such path here, a model of the Hub", path.display());
        return fetch(&model, is_offline).context(what);
    }
    let folder = std::path::absolute(find_model(path)?)?;
    if folder.join("manifest.json").is_file() {
        Checkpoint::verify(&folder)?;
    }
    Ok(folder)
}

/// The model of the Hub that a path names. A path into a folder that is here never does.
fn on_hub(path: &Path) -> Result<Option<HubModel>> {
    let Some(text) = path.to_str().filter(|_| !path.exists()) else {
        return Ok(None);
    };
    if text.starts_with("hub:") {
        return Ok(Some(text.parse()?));
    }
    let beside = path.parent().is_some_and(Path::exists);
    Ok(text.parse().ok().filter(|_| !beside))
}

fn fetch(model: &HubModel, is_offline: bool) -> Result<PathBuf> {
    let hub = Hub::from_env(is_offline);
    if !hub.is_offline && hub.cached_model(model)?.is_none() && !hub.is_reachable() {
        let endpoint = &hub.endpoint;
        bail!("{endpoint} cannot be reached; check the path, or the network and HF_ENDPOINT");
    }
    let mut shown: Option<(String, ProgressBar)> = None;
    let copy = hub.fetch_model(model, &mut |file, done, total| {
        if shown.as_ref().is_none_or(|(name, _)| name != file) {
            let style = ProgressStyle::with_template("{msg} {bar:24} {bytes}/{total_bytes}");
            let bar = ProgressBar::new(total).with_message(file.to_owned());
            bar.set_style(style.expect("a fixed template"));
            shown = Some((file.to_owned(), bar));
        }
        if let Some((_, bar)) = &shown {
            bar.set_position(done);
        }
    })?;
    Ok(copy.path)
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
pub(crate) fn take_weights(config: &mut PretrainConfig, is_offline: bool) -> Result<()> {
    let Some(path) = &config.weights else {
        return Ok(());
    };
    let folder = find_weights(path, is_offline)?;
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
