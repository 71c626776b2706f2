//! Model folders in the Hugging Face layout, `config.json` and `model.safetensors`, as checkpoints,
//! final models and `--model` use them. Reading is `load`'s, writing `save`'s, what a family's keys
//! and names are is left to the files called after it.

mod class_head;
mod description;
mod family;
mod file_tensors;
mod gguf;
mod gguf_keys;
mod gguf_rope;
mod gguf_write;
mod gpt2;
mod json;
mod llama;
mod llama2c;
mod load;
mod names;
mod place;
mod report;
mod rope;
mod save;
mod spare;
mod values;

use std::path::{Path, PathBuf};

use serde_json::Value;
use sinterlm_formats::WeightFile;

use crate::error::ModelError;
use crate::gpt::GptConfig;
pub use class_head::{ClassHead, has_class_head, load_with_head, save_with_head};
use description::Description;
pub use gguf_write::save_gguf;
pub use load::{LoadOptions, load_model, load_model_with};
use names::{CONFIG, GENERATION_CONFIG};
pub use report::LoadReport;
pub use save::{SaveOptions, save_model, save_model_with};
pub use values::WeightsAs;

/// The model at `path`, a file or a model folder.
///
/// # Errors
/// [`ModelError::Folder`] where there is neither.
pub fn find_model(path: &Path) -> Result<PathBuf, ModelError> {
    if path.is_file() || path.join(CONFIG).is_file() {
        return Ok(path.to_owned());
    }
    let fault = if path.exists() {
        "holds no model"
    } else {
        "does not exist"
    };
    Err(ModelError::Folder {
        path: path.to_owned(),
        fault: fault.to_owned(),
    })
}

/// The decoder that a folder or file describes.
///
/// A head that is to be the embedding and stands in the weights with other values is one of its own,
/// as `transformers` 5 takes it.
///
/// # Errors
/// [`ModelError::Folder`] where it is unreadable or describes another architecture.
pub fn read_config(path: &Path) -> Result<GptConfig, ModelError> {
    let mut description = Description::read(path)?;
    if description.config.tied_head
        && let Ok(weights) = WeightFile::open(path)
    {
        description.untie_unequal(&weights)?;
    }
    Ok(description.config)
}

/// The ids that end a text, by `generation_config.json` or else `config.json`, or by the metadata of
/// a GGUF; none where they are not named.
///
/// # Errors
/// [`ModelError::Folder`] for a file that is no JSON, [`ModelError::Format`] for a damaged GGUF.
pub fn read_end_ids(path: &Path) -> Result<Vec<u32>, ModelError> {
    if path.is_file() {
        return Ok(match WeightFile::open(path)? {
            WeightFile::Gguf(file) => gguf::end_ids(&file)?,
            _ => Vec::new(),
        });
    }
    for name in [GENERATION_CONFIG, CONFIG] {
        let path = path.join(name);
        if !path.is_file() {
            continue;
        }
        let ids = description::read_json(&path)?;
        let ids = match &ids["eos_token_id"] {
            Value::Array(ids) => ids.iter().filter_map(Value::as_u64).collect(),
            id => Vec::from_iter(id.as_u64()),
        };
        if !ids.is_empty() {
            return Ok(ids.into_iter().map(|id| id as u32).collect());
        }
    }
    Ok(Vec::new())
}

/// The names that files of published families give to the parameter at `path` of a decoder.
pub(crate) fn published_names(path: &str) -> Vec<String> {
    let places = [gpt2::place(path), llama::place(path)];
    places
        .into_iter()
        .flatten()
        .map(|place| place.name)
        .collect()
}
