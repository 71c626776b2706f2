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
/// a GGUF; none where they are not named. Ids that the model does not have are left out, with a warning.
///
/// # Errors
/// [`ModelError::Folder`] for a file that is no JSON, [`ModelError::EndIds`] for an `eos_token_id` that is
/// no id, [`ModelError::Format`] for a damaged GGUF.
pub fn read_end_ids(path: &Path) -> Result<Vec<u32>, ModelError> {
    if path.is_file() {
        return Ok(match WeightFile::open(path)? {
            WeightFile::Gguf(file) => gguf::end_ids(&file)?,
            _ => Vec::new(),
        });
    }
    let described = Description::read(path).ok();
    let rows = described.map(|described| described.config.vocab_size);
    for name in [GENERATION_CONFIG, CONFIG] {
        let path = path.join(name);
        if !path.is_file() {
            continue;
        }
        let json = description::read_json(&path)?;
        let listed = match &json["eos_token_id"] {
            Value::Null => continue,
            Value::Array(ids) => ids.as_slice(),
            id => std::slice::from_ref(id),
        };
        let mut ids = Vec::with_capacity(listed.len());
        for id in listed {
            if !(id.is_i64() || id.is_u64()) {
                let found = id.to_string();
                return Err(ModelError::EndIds { path, found });
            }
            let own = id.as_u64().and_then(|id| u32::try_from(id).ok());
            if let Some(id) = own.filter(|id| rows.is_none_or(|rows| (*id as usize) < rows)) {
                ids.push(id);
            } else {
                tracing::warn!(
                    "{}: eos_token_id: the model has no token {id}, so it ends no text; correct it, or take it out",
                    path.display()
                );
            }
        }
        if !ids.is_empty() {
            return Ok(ids);
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
