//! Model folders in the Hugging Face layout: `config.json` and `model.safetensors`, as
//! `transformers` writes them. Checkpoints, final models and `--model` all use it. What a family's
//! keys and names are is left to the files beside this one.

mod family;
mod gpt2;
mod json;
mod place;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde_json::Value;
use sinterlm_formats::{Dtype, SafetensorsFile, TensorEntry, write_file_atomic, write_safetensors};

use crate::error::ModelError;
use crate::gpt::{Gpt, GptConfig};
use crate::init::ParamSpec;
use crate::params::{NamedValues, named_values};
use family::Family;
use place::Form;

const WEIGHTS: &str = "model.safetensors";
const CONFIG: &str = "config.json";

/// Finds the model folder that `path` means: itself, a run directory's final `model`, or the
/// newest checkpoint of a run directory.
///
/// # Errors
/// [`ModelError::Folder`] where none of them is there.
pub fn find_model(path: &Path) -> Result<PathBuf, ModelError> {
    let holds_model = |folder: &Path| folder.join(CONFIG).is_file();
    if holds_model(path) {
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
            let zeros = match place.form {
                Form::Third(_) => vec![0.0; stored.iter().product()],
                _ => Vec::new(),
            };
            (stored, zeros)
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
            data: Cow::Owned(
                values
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect(),
            ),
        })
        .collect();
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    write_safetensors(folder.join(WEIGHTS), &entries, &metadata)?;
    Ok(())
}

/// Reads a folder of `transformers` or of our own, every tensor accounted for.
///
/// # Errors
/// [`ModelError`] names the file and the tensor that is missing, unused or misshapen.
pub fn load_model(folder: &Path, device: &Device) -> Result<Gpt, ModelError> {
    let (family, config) = read_family(folder)?;
    let path = folder.join(WEIGHTS);
    let file = SafetensorsFile::open(&path)?;
    let mut used = BTreeSet::new();
    let model = config.init_from(device, |spec| {
        read_param(&file, &path, family, spec, &mut used)
    })?;
    let unused: Vec<String> = file
        .names()
        .map(str::to_owned)
        .filter(|name| !used.contains(name) && !family.is_spare(name, &config))
        .take(5)
        .collect();
    if unused.is_empty() {
        Ok(model)
    } else {
        Err(ModelError::UnusedTensors {
            path,
            names: unused,
        })
    }
}

fn read_param(
    file: &SafetensorsFile,
    path: &Path,
    family: Family,
    spec: &ParamSpec,
    used: &mut BTreeSet<String>,
) -> Result<Vec<f32>, ModelError> {
    let place = family.place(&spec.path);
    let base = place.name.strip_prefix(family.prefix());
    let base = base.unwrap_or(&place.name).to_owned();
    let names: Vec<String> = file.names().map(str::to_owned).collect();
    let Some(name) = [place.name, base.clone()]
        .into_iter()
        .find(|name| names.contains(name))
    else {
        let leaf = base.rsplit('.').nth(1).unwrap_or_default();
        let nearest = names
            .iter()
            .find(|name| !leaf.is_empty() && name.contains(leaf))
            .map_or(String::new(), |name| format!(" (there is `{name}`)"));
        return Err(ModelError::MissingTensor {
            path: path.to_owned(),
            name: base,
            nearest,
        });
    };
    used.insert(name.clone());
    let found = file.tensor(&name)?.shape.clone();
    let expected = place.form.stored_shape(&spec.shape);
    if found != expected {
        return Err(ModelError::ShapeMismatch {
            path: path.to_owned(),
            name,
            found,
            expected,
        });
    }
    Ok(place.form.restore(file.to_f32(&name)?, &spec.shape))
}

/// Reads a folder's `config.json`.
///
/// # Errors
/// [`ModelError::Folder`] where it is unreadable or describes another architecture.
pub fn read_config(folder: &Path) -> Result<GptConfig, ModelError> {
    Ok(read_family(folder)?.1)
}

fn read_family(folder: &Path) -> Result<(Family, GptConfig), ModelError> {
    let path = folder.join(CONFIG);
    let fault = |fault: String| ModelError::Folder {
        path: path.clone(),
        fault,
    };
    let text = std::fs::read_to_string(&path).map_err(|error| fault(error.to_string()))?;
    let json: Value = serde_json::from_str(&text).map_err(|error| fault(error.to_string()))?;
    Family::read(&json).map_err(fault)
}
