//! Model folders in the Hugging Face layout, `config.json` and `model.safetensors`, as checkpoints,
//! final models and `--model` use them; finding and writing them. Reading is `load`'s, what a family's
//! keys and names are is left to the files called after it.

mod description;
mod family;
mod gguf;
mod gguf_write;
mod gpt2;
mod json;
mod llama;
mod llama2c;
mod load;
mod place;
mod rope;
mod values;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sinterlm_formats::{Dtype, TensorEntry, WeightFile, write_file_atomic, write_safetensors};

use crate::error::ModelError;
use crate::gpt::{Gpt, GptConfig};
use crate::params::{NamedValues, named_values};
use description::Description;
use family::Family;
pub use gguf_write::save_gguf;
pub use load::{LoadOptions, LoadReport, load_model, load_model_with};
use place::Form;
pub use values::WeightsAs;

const WEIGHTS: &str = "model.safetensors";
const CONFIG: &str = "config.json";
const GENERATION_CONFIG: &str = "generation_config.json";

/// Finds the model that `path` means: a file, a model folder, a run directory's final `model`, or the
/// newest checkpoint of a run directory.
///
/// # Errors
/// [`ModelError::Folder`] where none of them is there.
pub fn find_model(path: &Path) -> Result<PathBuf, ModelError> {
    let holds_model = |folder: &Path| folder.join(CONFIG).is_file();
    if path.is_file() || holds_model(path) {
        return Ok(path.to_owned());
    }
    let mut candidates: Vec<PathBuf> = std::fs::read_dir(path.join("checkpoints"))
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    candidates.retain(|folder| {
        folder
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("step-"))
    });
    candidates.sort();
    candidates.push(path.join("model"));
    candidates
        .into_iter()
        .rev()
        .find(|folder| holds_model(folder))
        .ok_or_else(|| {
            let fault = if path.exists() {
                "holds no model"
            } else {
                "does not exist"
            };
            ModelError::Folder {
                path: path.to_owned(),
                fault: fault.to_owned(),
            }
        })
}

/// Writes `config.json` and `model.safetensors` into `folder`, which must exist, in the layout of the
/// published family that has the model's options, or in our own where none has.
///
/// `end_of_text` is the tokenizer's end-of-text id, which other programs stop at and begin with.
///
/// # Errors
/// [`ModelError::Format`] where a file cannot be written.
pub fn save_model(folder: &Path, model: &Gpt, end_of_text: u32) -> Result<(), ModelError> {
    let family = Family::of(model.config());
    let mut config = family.to_json(model.config());
    config["bos_token_id"] = end_of_text.into();
    config["eos_token_id"] = end_of_text.into();
    let text = serde_json::to_string_pretty(&config).expect("a JSON value prints");
    write_file_atomic(folder.join(CONFIG), |out| out.write_all(text.as_bytes()))?;

    let mut tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)> = BTreeMap::new();
    for NamedValues {
        path,
        shape,
        values,
    } in named_values(model)
    {
        let place = family.place(&path);
        let (_, stored) = tensors.entry(place.name).or_insert_with(|| {
            let stored = place.form.stored_shape(&shape);
            let is_part = matches!(place.form, Form::Third { .. });
            let len = if is_part { stored.iter().product() } else { 0 };
            (stored, vec![0.0; len])
        });
        place.form.store(values, &shape, stored);
    }
    if family == Family::Gpt2 && !model.config().qkv_bias {
        // `transformers` always has a fused bias; where we have none, zeros do the same.
        let width = 3 * model.config().d_model;
        for layer in 0..model.config().n_layers {
            let place = family.place(&format!("blocks.{layer}.attn.q.bias"));
            tensors.insert(place.name, (vec![width], vec![0.0; width]));
        }
    }
    let entries: Vec<TensorEntry<'_>> = tensors
        .iter()
        .map(|(name, (shape, values))| TensorEntry {
            name: name.clone(),
            dtype: Dtype::F32,
            shape: shape.clone(),
            data: little_endian(values),
        })
        .collect();
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    write_safetensors(folder.join(WEIGHTS), &entries, &metadata)?;
    Ok(())
}

fn little_endian(values: &[f32]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        Cow::Borrowed(bytemuck::cast_slice(values))
    } else {
        Cow::Owned(
            values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        )
    }
}

/// The decoder that a folder or file describes.
///
/// # Errors
/// [`ModelError::Folder`] where it is unreadable or describes another architecture.
pub fn read_config(path: &Path) -> Result<GptConfig, ModelError> {
    Ok(Description::read(path)?.config)
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
