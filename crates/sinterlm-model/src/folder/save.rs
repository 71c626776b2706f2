//! Writing a model folder: `config.json` and `model.safetensors`. What stands beside them for text, the
//! tokenizer and its marks, is the caller's to add.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use sinterlm_formats::{Dtype, stream_safetensors, write_file_atomic};

use super::family::Family;
use super::file_tensors::{FileTensors, refuse_deltas};
use super::names::{CONFIG, WEIGHTS};
use crate::error::ModelError;
use crate::gpt::Gpt;

/// How a model folder is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaveOptions {
    /// Type of every tensor: F32, F16 or BF16.
    pub dtype: Dtype,
    /// The token that other programs begin a text with, if any.
    pub begin: Option<u32>,
    /// The tokens that other programs stop at.
    pub ends: Vec<u32>,
}

impl SaveOptions {
    /// F32, with one token between texts.
    pub fn new(end_of_text: u32) -> Self {
        Self {
            dtype: Dtype::F32,
            begin: Some(end_of_text),
            ends: vec![end_of_text],
        }
    }
}

/// Writes `config.json` and `model.safetensors` into `folder`, which must exist, in the layout of the
/// published family that has the model's options, or in our own where none has.
///
/// `end_of_text` is the tokenizer's end-of-text id, which other programs stop at and begin with. Values
/// are copied one tensor at a time.
///
/// # Errors
/// [`ModelError::Format`] where a file cannot be written.
pub fn save_model(folder: &Path, model: &Gpt, end_of_text: u32) -> Result<(), ModelError> {
    save_model_with(folder, model, &SaveOptions::new(end_of_text))
}

/// [`save_model`] in another type or with other marks.
///
/// Half floats are rounded to nearest even; what is beyond their range becomes infinite.
///
/// # Errors
/// As [`save_model`], and [`ModelError::Folder`] for a type that no model folder has.
pub fn save_model_with(
    folder: &Path,
    model: &Gpt,
    options: &SaveOptions,
) -> Result<(), ModelError> {
    write_folder(folder, model, options, |_, _, _| ())
}

/// [`save_model_with`] with what `extend` adds to the config and the tensors.
pub(super) fn write_folder(
    folder: &Path,
    model: &Gpt,
    options: &SaveOptions,
    extend: impl FnOnce(Family, &mut Value, &mut FileTensors),
) -> Result<(), ModelError> {
    let Some(dtype_name) = name_of(options.dtype) else {
        let dtype = options.dtype;
        return Err(ModelError::Folder {
            path: folder.to_owned(),
            fault: format!(
                "{dtype} is no type for a model folder's weights, only F32, F16 and BF16"
            ),
        });
    };
    refuse_deltas(model)?;
    let family = Family::of(model.config());
    let mut config = family.to_json(model.config());
    config["torch_dtype"] = dtype_name.into();
    config["bos_token_id"] = json!(options.begin);
    config["eos_token_id"] = match options.ends[..] {
        [] => Value::Null,
        [end] => end.into(),
        _ => json!(options.ends),
    };
    let mut tensors = FileTensors::of(model, |path| family.place(path));
    extend(family, &mut config, &mut tensors);
    let text = serde_json::to_string_pretty(&config).expect("a JSON value prints");
    write_file_atomic(folder.join(CONFIG), |out| out.write_all(text.as_bytes()))?;

    let headers = tensors.headers(|_, _| options.dtype.into());
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let weights = folder.join(WEIGHTS);
    stream_safetensors(weights, &headers, &metadata, |tensor| tensors.take(tensor))?;
    Ok(())
}

/// What `config.json` calls a type of weights.
fn name_of(dtype: Dtype) -> Option<&'static str> {
    match dtype {
        Dtype::F32 => Some("float32"),
        Dtype::F16 => Some("float16"),
        Dtype::BF16 => Some("bfloat16"),
        _ => None,
    }
}
