//! Weights to start from or to read: from a path, or a name on the Hub, to a model folder that is whole.

use std::path::{Path, PathBuf};

use burn::module::Module;
use sinterlm_data::{DataError, Hub, HubModel, Tokenizer};
use sinterlm_eval::{PROBE_TEXT, load_probe};
use sinterlm_model::{Gpt, find_model};
use sinterlm_run::RunDir;
use sinterlm_text::{OpenOptions, TextModel};
use sinterlm_trainer::Checkpoint;

use crate::error::PipelineError;
use crate::host::{Host, Told};

/// The model folder or file that `path` means: on this machine, or on the Hub, as `owner/name` or
/// `hub:owner/name[@revision][/FILE.gguf]`. A checkpoint is held against its manifest.
///
/// # Errors
/// Where there is no model, the checkpoint is damaged, or the model cannot be fetched.
pub fn find_weights(path: &Path, host: &Host) -> Result<PathBuf, PipelineError> {
    if let Some(model) = on_hub(path)? {
        return fetch(&model, path, host);
    }
    let found = find_model(path).or_else(|fault| RunDir::weights_in(path).ok_or(fault))?;
    let folder = absolute(&found)?;
    if folder.join("manifest.json").is_file() {
        Checkpoint::verify(&folder).map_err(PipelineError::Checkpoint)?;
    }
    Ok(folder)
}

/// Opens the model that `path` means, with its tokenizer: a run directory, a checkpoint, a model folder,
/// a file, or a name on the Hub, as in [`find_weights`].
///
/// # Errors
/// Where there is no model, or its parts do not belong together.
pub fn open_model(
    path: &Path,
    options: &OpenOptions,
    host: &Host,
) -> Result<TextModel, PipelineError> {
    let found = find_weights(path, host)?;
    Ok(TextModel::open(&found, options, &host.device)?)
}

/// The path from the root of the file system.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, PipelineError> {
    std::path::absolute(path).map_err(|source| PipelineError::File {
        path: path.to_owned(),
        action: "cannot be made absolute",
        source,
    })
}

/// Refuses a path that no config can hold once it is written from the root of the file system.
pub(crate) fn refuse_unless_text(path: &Path) -> Result<(), PipelineError> {
    // One that cannot be made absolute, as an empty one, has a fault that is told elsewhere.
    match absolute(path) {
        Ok(path) if path.to_str().is_none() => Err(PipelineError::PathNotText { path }),
        _ => Ok(()),
    }
}

/// The model of the Hub that a path names. A path into a folder that is here never does.
fn on_hub(path: &Path) -> Result<Option<HubModel>, DataError> {
    let Some(text) = path.to_str().filter(|_| !path.exists()) else {
        return Ok(None);
    };
    if text.starts_with("hub:") {
        return Ok(Some(text.parse()?));
    }
    let beside = path.parent().is_some_and(Path::exists);
    Ok(text.parse().ok().filter(|_| !beside))
}

fn fetch(model: &HubModel, path: &Path, host: &Host) -> Result<PathBuf, PipelineError> {
    let hub = Hub::from_env(host.offline);
    let fault = |source: DataError| PipelineError::HubModel {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let is_cached = hub.cached_model(model).map_err(fault)?.is_some();
    if !hub.is_offline && !is_cached && !hub.is_reachable() {
        return Err(PipelineError::HubOutOfReach {
            path: path.to_owned(),
            endpoint: hub.endpoint,
        });
    }
    let copy = hub.fetch_model(model, &mut |file, done, total| {
        host.tell(Told::Downloading { file, done, total });
    });
    Ok(copy.map_err(fault)?.path)
}

/// Scores a short text with loaded weights and says how well they do.
///
/// # Errors
/// Where published weights are no better than chance. Those of our own runs may be at their start.
pub(crate) fn probe_weights(
    model: &Gpt,
    tokenizer: &Tokenizer,
    path: &Path,
    host: &Host,
) -> Result<(), PipelineError> {
    let probe = load_probe(&model.valid(), &tokenizer.encode(PROBE_TEXT), &host.device);
    host.say(format!("probe: {probe}"));
    let beside = |name: &str| path.join(name).is_file();
    if probe.is_trained() || beside("manifest.json") || beside("../run.json") {
        return Ok(());
    }
    Err(PipelineError::Untrained {
        path: path.to_owned(),
        probe,
    })
}
