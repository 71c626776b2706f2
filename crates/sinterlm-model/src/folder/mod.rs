//! Model folders in the Hugging Face layout: `config.json` and `model.safetensors`, as
//! `transformers` writes them for GPT-2. Checkpoints, final models and `--model` all use it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde_json::{Value, json};
use sinterlm_formats::{Dtype, SafetensorsFile, TensorEntry, write_file_atomic, write_safetensors};

use crate::error::ModelError;
use crate::gpt::{Activation, Gpt, GptConfig};
use crate::gpt2_names::{place, transpose};
use crate::init::ParamSpec;
use crate::params::named_values;

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

/// Writes `config.json` and `model.safetensors` into `folder`, which must exist.
///
/// `end_of_text` is the tokenizer's end-of-text id, which other programs stop at and begin with.
///
/// # Errors
/// [`ModelError::Format`] where a file cannot be written.
pub fn save_model(folder: &Path, model: &Gpt, end_of_text: u32) -> Result<(), ModelError> {
    let mut config = to_gpt2_json(model.config());
    config["bos_token_id"] = end_of_text.into();
    config["eos_token_id"] = end_of_text.into();
    let text = serde_json::to_string_pretty(&config).expect("a JSON value prints");
    write_file_atomic(folder.join(CONFIG), |out| out.write_all(text.as_bytes()))?;

    let d_model = model.config().d_model;
    let mut tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)> = BTreeMap::new();
    for param in named_values(model) {
        let place = place(&param.path);
        let name = if place.name.starts_with("lm_head") {
            place.name
        } else {
            format!("transformer.{}", place.name)
        };
        let Some(third) = place.third else {
            let stored = if place.transposed {
                let [rows, cols] = [param.shape[0], param.shape[1]];
                (vec![cols, rows], transpose(&param.values, rows, cols))
            } else {
                (param.shape, param.values)
            };
            tensors.insert(name, stored);
            continue;
        };
        // `transformers` always has a fused bias; where we have none, zeros do the same.
        let rows = param.values.len() / d_model;
        let (shape, fused) = tensors.entry(name).or_insert_with(|| {
            let shape = if place.transposed {
                vec![d_model, 3 * d_model]
            } else {
                vec![3 * d_model]
            };
            (shape.clone(), vec![0.0; shape.iter().product()])
        });
        if place.transposed {
            for (row, values) in param.values.chunks_exact(d_model).enumerate() {
                for (col, value) in values.iter().enumerate() {
                    fused[col * shape[1] + third * rows + row] = *value;
                }
            }
        } else {
            fused[third * d_model..][..d_model].copy_from_slice(&param.values);
        }
    }
    if !model.config().qkv_bias {
        for layer in 0..model.config().n_layers {
            let name = format!("transformer.h.{layer}.attn.c_attn.bias");
            tensors.insert(name, (vec![3 * d_model], vec![0.0; 3 * d_model]));
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

/// Reads a GPT-2 folder of `transformers` or of our own, every tensor accounted for.
///
/// # Errors
/// [`ModelError`] names the file and the tensor that is missing, unused or misshapen.
pub fn load_model(folder: &Path, device: &Device) -> Result<Gpt, ModelError> {
    let config = read_config(folder)?;
    let path = folder.join(WEIGHTS);
    let file = SafetensorsFile::open(&path)?;
    let mut used = BTreeSet::new();
    let model = config.init_from(device, |spec| read_param(&file, &path, spec, &mut used))?;
    // Buffers that `transformers` saves beside the weights, and the tied head written twice.
    let ignored = |name: &str| {
        name.ends_with(".attn.bias")
            || name.ends_with(".attn.masked_bias")
            || (name == "lm_head.weight" && config.tied_head)
            || (name.ends_with(".attn.c_attn.bias") && !config.qkv_bias)
    };
    let unused: Vec<String> = file
        .names()
        .map(str::to_owned)
        .filter(|name| !used.contains(name) && !ignored(name))
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
    spec: &ParamSpec,
    used: &mut BTreeSet<String>,
) -> Result<Vec<f32>, ModelError> {
    let place = place(&spec.path);
    let prefixed = format!("transformer.{}", place.name);
    let names: Vec<String> = file.names().map(str::to_owned).collect();
    let Some(name) = [prefixed, place.name.clone()]
        .into_iter()
        .find(|name| names.contains(name))
    else {
        let leaf = place.name.rsplit('.').nth(1).unwrap_or_default();
        let nearest = names
            .iter()
            .find(|name| !leaf.is_empty() && name.contains(leaf))
            .map_or(String::new(), |name| format!(" (there is `{name}`)"));
        return Err(ModelError::MissingTensor {
            path: path.to_owned(),
            name: place.name,
            nearest,
        });
    };
    used.insert(name.clone());
    let found = file.tensor(&name)?.shape.clone();
    let thirds = if place.third.is_some() { 3 } else { 1 };
    let mut expected = spec.shape.clone();
    expected[0] *= thirds;
    if place.transposed {
        expected.reverse();
    }
    if found != expected {
        return Err(ModelError::ShapeMismatch {
            path: path.to_owned(),
            name,
            found,
            expected,
        });
    }
    let mut values = file.to_f32(&name)?;
    if place.transposed {
        values = transpose(&values, expected[0], expected[1]);
    }
    if let Some(third) = place.third {
        let len = spec.len();
        values = values[third * len..][..len].to_vec();
    }
    Ok(values)
}

/// Reads a folder's `config.json`.
///
/// # Errors
/// [`ModelError::Folder`] where it is unreadable or describes another architecture.
pub fn read_config(folder: &Path) -> Result<GptConfig, ModelError> {
    let path = folder.join(CONFIG);
    let fault = |fault: String| ModelError::Folder {
        path: path.clone(),
        fault,
    };
    let text = std::fs::read_to_string(&path).map_err(|error| fault(error.to_string()))?;
    let json: Value = serde_json::from_str(&text).map_err(|error| fault(error.to_string()))?;
    from_gpt2_json(&json).map_err(fault)
}

fn to_gpt2_json(config: &GptConfig) -> Value {
    json!({
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.max_seq_len,
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": config.d_ff(),
        "activation_function": match config.activation {
            Activation::GeluTanh => "gelu_new",
            Activation::Gelu => "gelu",
        },
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "layer_norm_epsilon": config.norm_eps,
        "tie_word_embeddings": config.tied_head,
        "qkv_bias": config.qkv_bias,
        "torch_dtype": "float32",
    })
}

fn from_gpt2_json(json: &Value) -> Result<GptConfig, String> {
    if json["model_type"] != "gpt2" {
        return Err(format!(
            "model_type is {}, only \"gpt2\" can be read",
            json["model_type"]
        ));
    }
    let number = |key: &str| {
        let value = json[key].as_u64().filter(|value| *value > 0);
        value
            .map(|value| value as usize)
            .ok_or_else(|| format!("{key} is not a positive number"))
    };
    let activation = match json["activation_function"].as_str() {
        None | Some("gelu_new" | "gelu_pytorch_tanh") => Activation::GeluTanh,
        Some("gelu") => Activation::Gelu,
        Some(other) => return Err(format!("activation_function {other:?} is not supported")),
    };
    let config = GptConfig {
        vocab_size: number("vocab_size")?,
        max_seq_len: number("n_positions")?,
        d_model: number("n_embd")?,
        n_layers: number("n_layer")?,
        n_heads: number("n_head")?,
        d_ff: json["n_inner"].as_u64().unwrap_or(0) as usize,
        qkv_bias: json["qkv_bias"].as_bool().unwrap_or(true),
        activation,
        dropout: json["resid_pdrop"].as_f64().unwrap_or(0.0),
        tied_head: json["tie_word_embeddings"].as_bool().unwrap_or(true),
        norm_eps: json["layer_norm_epsilon"].as_f64().unwrap_or(1e-5),
    };
    if config.d_model.is_multiple_of(config.n_heads) {
        Ok(config)
    } else {
        Err(format!(
            "n_head {} does not divide n_embd {}",
            config.n_heads, config.d_model
        ))
    }
}
