//! Folders of a decoder with a class head, as `transformers` has them for its `...ForSequenceClassification`
//! classes: the keys of `config.json`, and one matrix more among the weights.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde_json::{Map, Value, json};
use sinterlm_formats::{FormatError, TensorSource, WeightFile};

use super::description::{Description, read_json};
use super::json::Keys;
use super::load::{LoadOptions, Matched, warn_untied};
use super::names::{CONFIG, SCORE};
use super::save::{SaveOptions, write_folder};
use crate::error::ModelError;
use crate::gpt::Gpt;
use crate::init::{Init, Maker, ParamSpec};
use crate::linear::Linear;
use crate::params::lazy_values;
use crate::reading::{Pool, Reading};
use crate::with_head::WithHead;

/// End of the names of classes that have such a head.
const TASK: &str = "ForSequenceClassification";
/// Beginnings of the names of tensors of a head, here or in other classes.
const HEADS: [&str; 5] = [
    "score.",
    "classifier.",
    "classification_head.",
    "qa_outputs.",
    "v_head.",
];
/// What our folders say of reading that those of `transformers` cannot.
const READING: &str = "sinterlm_reading";

/// What the outputs of a class head mean, and what it reads.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassHead {
    /// Names of the classes, in the order of the head's outputs.
    pub labels: Vec<String>,
    /// How rows are padded and read.
    pub reading: Reading,
    /// Of two classes, the probability from which a row is of the second one; the likelier class where
    /// absent.
    pub threshold: Option<f32>,
}

impl ClassHead {
    /// The class of a row with these probabilities, one for each class: of two the one that the threshold
    /// decides for, else the likeliest, the first of equal ones.
    ///
    /// # Panics
    /// If there is not one probability for each class.
    pub fn class_of(&self, probabilities: &[f32]) -> usize {
        let (given, labels) = (probabilities.len(), self.labels.len());
        assert_eq!(given, labels, "class_of: a probability for each class");
        if let (Some(threshold), [_, second]) = (self.threshold, probabilities) {
            return usize::from(*second >= threshold);
        }
        let mut likeliest = 0;
        for (class, probability) in probabilities.iter().enumerate() {
            if *probability > probabilities[likeliest] {
                likeliest = class;
            }
        }
        likeliest
    }
}

/// Writes a decoder with its class head into `folder`, which must exist: what
/// [`save_model_with`](crate::save_model_with) writes, as a folder of the family's
/// `...ForSequenceClassification` class.
///
/// `transformers` reads the last token that is not [`Reading::pad_id`]; a head that reads others is
/// scored otherwise there, while [`load_with_head`] gives the reading back.
///
/// # Errors
/// As [`save_model_with`](crate::save_model_with), [`ModelError::ClassHead`] where the labels are not
/// one different name for each output, and [`ModelError::NoPlace`] for a head with a bias or deltas.
pub fn save_with_head(
    folder: &Path,
    model: &WithHead<Gpt>,
    head: &ClassHead,
    options: &SaveOptions,
) -> Result<(), ModelError> {
    let [outputs, _] = model.score.weight.dims();
    let labels = &head.labels;
    let fault = |fault: String| refused(folder, fault);
    if labels.len() != outputs {
        let count = labels.len();
        return Err(fault(format!("{count} labels for {outputs} outputs")));
    }
    if let Some(twice) = repeated(labels) {
        return Err(fault(format!("two classes are called {twice:?}")));
    }
    check_threshold(head).map_err(fault)?;
    let mut score = None;
    for values in lazy_values(&model.score) {
        if values.path != "weight" {
            let path = format!("score.{}", values.path);
            return Err(ModelError::NoPlace { path });
        }
        score = Some(values);
    }
    let score = score.expect("a linear layer has a weight");
    write_folder(folder, &model.lm, options, |family, config, tensors| {
        config["architectures"] = json!([family.class(TASK)]);
        describe(head, config);
        tensors.add(SCORE.to_owned(), score);
    })
}

/// Reads a decoder with its class head from a folder, ours or another with the same classes, onto a
/// device. Every tensor is accounted for.
///
/// The output projection is read where the folder has one; those of `transformers` have none, and
/// then the decoder's head is the embedding.
///
/// # Errors
/// As [`load_model`](crate::load_model), and [`ModelError::ClassHead`] for a folder without a class
/// head, with one of another form (with a bias or further layers), with labels that are not numbered from 0 on, or
/// of classes that do not exclude each other.
pub fn load_with_head(
    folder: &Path,
    device: &Device,
) -> Result<(WithHead<Gpt>, ClassHead), ModelError> {
    let path = folder.join(CONFIG);
    let head = read_head(&read_json(&path)?).map_err(|fault| refused(&path, fault))?;
    let mut description = Description::read(folder)?;
    let source = WeightFile::open(folder)?;
    refuse_other_heads(&source)?;
    if description.untie_unequal(&source)? {
        warn_untied(&source);
    }
    let projection = description.place("head.weight").name;
    if !source.tensor_names().contains(&projection.as_str()) {
        description.config.tied_head = true;
    }
    let shape = [head.labels.len(), description.config.d_model];
    let mut specs = description.config.param_specs(device);
    specs.push(ParamSpec {
        path: SCORE.to_owned(),
        shape: shape.to_vec(),
        init: Init::Zeros, // never drawn: a file without it is refused
    });
    let mut matched = Matched::new(&description, source, &specs, &LoadOptions::default())?;
    let values = &mut |spec: &ParamSpec| matched.values(spec, device);
    let lm = description.config.init_with(device, values)?;
    let maker = &mut Maker { device, values };
    let score = Linear::make::<FormatError>(maker, "score", shape, 0.0, false)?;
    Ok((WithHead { lm, score }, head))
}

/// Whether the model at `path` is one with a class head, by its description; false for a file.
///
/// # Errors
/// [`ModelError::Folder`] for a description that cannot be read.
pub fn has_class_head(path: &Path) -> Result<bool, ModelError> {
    let path = path.join(CONFIG);
    if !path.is_file() {
        return Ok(false);
    }
    let json = read_json(&path)?;
    let classes = json["architectures"].as_array().into_iter().flatten();
    let mut names = classes.filter_map(Value::as_str);
    Ok(names.any(|name| name.ends_with(TASK)))
}

fn refused(path: &Path, fault: String) -> ModelError {
    let path = PathBuf::from(path);
    ModelError::ClassHead { path, fault }
}

fn repeated(labels: &[String]) -> Option<&String> {
    let mut seen = BTreeSet::new();
    labels.iter().find(|label| !seen.insert(*label))
}

fn check_threshold(head: &ClassHead) -> Result<(), String> {
    let count = head.labels.len();
    match head.threshold {
        Some(_) if count != 2 => Err(format!("a threshold for {count} classes, and not for two")),
        Some(threshold) if !(0.0..=1.0).contains(&threshold) => {
            Err(format!("the threshold {threshold} is no probability"))
        }
        _ => Ok(()),
    }
}

/// Puts a head into a `config.json`.
fn describe(head: &ClassHead, config: &mut Value) {
    let ClassHead {
        labels,
        reading,
        threshold,
    } = head;
    let names: Map<String, Value> = (labels.iter().enumerate())
        .map(|(class, label)| (class.to_string(), label.as_str().into()))
        .collect();
    let numbers: Map<String, Value> = (labels.iter().enumerate())
        .map(|(class, label)| (label.clone(), class.into()))
        .collect();
    config["num_labels"] = labels.len().into();
    config["id2label"] = names.into();
    config["label2id"] = numbers.into();
    config["problem_type"] = if labels.len() > 1 {
        "single_label_classification".into()
    } else {
        "regression".into()
    };
    config["pad_token_id"] = reading.pad_id.into();
    let is_plain = (reading.pool, reading.min_seq, reading.max_tokens) == (Pool::Last, 0, 0);
    if !is_plain || threshold.is_some() {
        config[READING] = json!({"pool": reading.pool, "min_seq": reading.min_seq});
    }
    if reading.max_tokens > 0 {
        config[READING]["max_tokens"] = json!(reading.max_tokens);
    }
    if let Some(threshold) = threshold {
        config[READING]["threshold"] = json!(threshold);
    }
}

/// The head that a `config.json` describes.
fn read_head(json: &Value) -> Result<ClassHead, String> {
    let keys = Keys(json);
    if let Some(Value::Array(classes)) = keys.get("architectures") {
        let mut names = classes.iter().filter_map(Value::as_str);
        if let Some(other) = names.find(|name| !name.ends_with(TASK)) {
            return Err(format!(
                "architectures names {other}, which has no class head"
            ));
        }
    }
    if keys.text("problem_type")? == Some("multi_label_classification") {
        return Err(
            "problem_type multi_label_classification is not supported: here, classes \
                    exclude each other"
                .to_owned(),
        );
    }
    let labels = match keys.get("id2label") {
        Some(Value::Object(names)) => labels_of(names)?,
        Some(other) => return Err(format!("id2label is {other}, not an object")),
        None => {
            // The names and the number that `transformers` gives.
            let count = keys.size("num_labels", 2)?;
            (0..count).map(|class| format!("LABEL_{class}")).collect()
        }
    };
    let pad_id = keys.get("pad_token_id").and_then(Value::as_u64);
    let (pool, min_seq, max_tokens, threshold) = match keys.get(READING) {
        Some(own) => {
            let fault = |error| format!("{READING}.pool: {error}");
            let pool = serde_json::from_value(own["pool"].clone()).map_err(fault)?;
            let threshold = match Keys(own).get("threshold") {
                None => None,
                Some(Value::Number(number)) => number.as_f64().map(|number| number as f32),
                Some(other) => {
                    return Err(format!("{READING}.threshold is {other}, not a number"));
                }
            };
            let own = Keys(own);
            let (min_seq, most) = (own.count("min_seq", 0)?, own.count("max_tokens", 0)?);
            (pool, min_seq, most, threshold)
        }
        None => (Pool::Last, 0, 0, None),
    };
    let reading = Reading {
        pool,
        pad_id: pad_id.map_or(0, |id| id as u32),
        min_seq,
        max_tokens,
    };
    let head = ClassHead {
        labels,
        reading,
        threshold,
    };
    check_threshold(&head)?;
    Ok(head)
}

/// The labels in the order of their numbers.
fn labels_of(names: &Map<String, Value>) -> Result<Vec<String>, String> {
    let labels: Option<Vec<String>> = (0..names.len())
        .map(|class| Some(names.get(&class.to_string())?.as_str()?.to_owned()))
        .collect();
    match labels {
        Some(labels) if !labels.is_empty() => Ok(labels),
        _ => Err("id2label does not name classes from 0 on".to_owned()),
    }
}

/// Refuses a head of another form by the name of its tensor.
fn refuse_other_heads(source: &WeightFile) -> Result<(), ModelError> {
    let is_other = |name: &&str| *name != SCORE && HEADS.iter().any(|head| name.starts_with(head));
    match source.tensor_names().into_iter().find(is_other) {
        Some(name) => Err(refused(source.path(), format!("the head has `{name}`"))),
        None => Ok(()),
    }
}
