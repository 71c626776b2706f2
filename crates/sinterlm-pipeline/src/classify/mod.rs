//! Classification: from labelled records to a decoder with a class head, and its figures on records that it
//! never saw. What is measured is in `figures`.

mod config;
mod figures;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use sinterlm_config::Seed;
use sinterlm_data::{Batch, Body, Record};
use sinterlm_model::{
    ClassHead, Gpt, GptConfig, Reading, WithHead, has_class_head, load_model, load_with_head,
};
use sinterlm_trainer::{ClassRow, ClassRows, Classes};

use crate::error::PipelineError;
use crate::host::Host;
use crate::parts::{ModelStore, Parts, Preview};
use crate::run_config::RunAt;
use crate::session::Session;
use crate::stage::End;
use crate::tuning::{TextParts, passport_files, side_files};
use crate::weights::probe_weights;
pub use config::{ClassWeighting, ClassesConfig, ClassifyConfig};
use figures::{ClassScoring, Labelled};

/// Fine-tunes a model to tell classes of texts apart, in a run directory that can be resumed.
///
/// # Errors
/// [`PipelineError`]; its [`exit_status`](PipelineError::exit_status) tells whether anything was begun.
///
/// # Example
/// ```no_run
/// use burn::tensor::Device;
/// use sinterlm_pipeline::{ClassifyConfig, Host, RunAt, classify};
///
/// let config = ClassifyConfig { weights: Some("gpt2".into()), ..ClassifyConfig::default() };
/// let host = Host::new(Device::flex(), "flex");
/// let end = classify(RunAt::resume_or_new("runs/spam", config), &host)?;
/// if let Some(stage) = end.stage() {
///     println!("{:?}", stage.summary.test);
/// }
/// # Ok::<(), sinterlm_pipeline::PipelineError>(())
/// ```
pub fn classify(at: RunAt<ClassifyConfig>, host: &Host) -> Result<End, PipelineError> {
    let mut session = Session::open(at, host)?;
    if let Some(stage) = session.finished() {
        return Ok(End::Done(stage));
    }
    let parts = classify_parts(&mut session)?;
    session.train(parts)
}

/// What [`classify`] trains: prepares the records, puts a head on the model and resolves what the config
/// leaves to the machine.
///
/// # Errors
/// Where records, weights or the machine cannot be used.
pub fn classify_parts(
    session: &mut Session<ClassifyConfig>,
) -> Result<Parts<'static, WithHead<Gpt>, Classes>, PipelineError> {
    let start = session.start_folder(session.config.weights.as_deref())?;
    let text = TextParts::of(&start)?;
    let config = session.config.clone();
    let prepared = session.prepare_records(
        &config.data,
        &config.hygiene,
        &config.split,
        &text.tokenizer,
    )?;
    session.config.data.fingerprint = Some(prepared.fingerprint.clone());
    if prepared.valid.is_empty() {
        return Err(PipelineError::NoValidation);
    }
    let train: Vec<&Record> = prepared.train.iter().flat_map(|set| &set.records).collect();
    let labels = labels_of(&train, &config.classes.labels)?;
    session.config.classes.labels.clone_from(&labels);

    let reads = config.model.max_seq_len;
    let most = match config.classes.max_tokens {
        0 => reads,
        most if most > reads => {
            return Err(PipelineError::Classes(format!(
                "classes.max_tokens: {most} is above the {reads} tokens that the model reads; lower it, or use 0"
            )));
        }
        most => most,
    };
    let encoding = Encoding {
        text: &text,
        labels: &labels,
        most,
    };
    let (train_rows, cut) = encoding.rows(train.iter().copied())?;
    let (valid, valid_cut) = encoding.labelled(&prepared.valid)?;
    let (test, test_cut) = encoding.labelled(&prepared.test)?;
    let cut = cut + valid_cut + test_cut;
    if cut > 0 {
        let host = session.host();
        host.note(format!(
            "data: {cut} texts are longer than {most} tokens and lose their end"
        ));
    }
    let all = [train_rows.as_slice(), &valid.rows, &test.rows];
    let longest = all
        .iter()
        .flat_map(|rows| rows.iter())
        .map(|row| row.ids.len())
        .max();
    let longest = longest.unwrap_or(0);
    let reading = Reading {
        pool: config.classes.pool,
        pad_id: text.tokenizer.end_of_text(),
        min_seq: match config.classes.pool {
            sinterlm_model::Pool::LastColumn => longest,
            _ => 0,
        },
        max_tokens: config.classes.max_tokens,
    };
    let texts = |records: &[&Record]| -> Vec<String> {
        records
            .iter()
            .map(|record| record.texts().concat())
            .collect()
    };
    let train_texts = if config.classes.bag_of_words {
        texts(&train)
    } else {
        Vec::new()
    };
    let train_classes: Vec<usize> = train_rows.iter().map(|row| row.class as usize).collect();
    let first = batch_of(&train_rows, reading.pad_id);
    let mut rows = ClassRows::new(train_rows, labels.len(), reading.clone())?;
    if config.classes.weights == ClassWeighting::Balanced {
        let weights = rows.balancing_weights();
        rows = rows.with_class_weights(&weights)?;
    }

    let host = session.host().clone();
    let chosen: Arc<Mutex<Option<f32>>> = Arc::default();
    let head = {
        let (labels, reading) = (labels.clone(), reading.clone());
        let chosen = Arc::clone(&chosen);
        move || ClassHead {
            labels: labels.clone(),
            reading: reading.clone(),
            threshold: *chosen.lock().unwrap_or_else(PoisonError::into_inner),
        }
    };
    let store = ModelStore::with_head(head, text.tokenizer.end_of_text());
    let store = store.with_files(side_files(&start, &text.tokenizer, &prepared.passport)?);
    let device = host.device.clone().autodiff();
    let resumed = session.checkpoint_path().is_some();
    let (model, is_new) = if resumed {
        (store.load(&start, &device)?, false)
    } else {
        start_model(&start, &labels, Seed(config.seed), &host, &text)?
    };
    let model = with_dropout(model, config.model.dropout);
    host.say(format!("weights: {}", start.display()));
    session.say_model(model.lm.config());
    let frozen = config.trainer.freeze_parameters(model);
    let model = frozen.map_err(PipelineError::Selection)?;
    let decoder = GptConfig {
        max_seq_len: longest.max(1),
        ..config.model.clone()
    };
    session.fit_to_machine(&model, &decoder)?;
    let cached = |name: &str, rows: Vec<Vec<u32>>| session.prefix_cache(name, &model.lm, &rows);
    let train_prefix = cached("train", rows.cached_rows())?;
    let valid_prefix = cached("valid", reading.cached_rows(&valid.rows))?;

    let config = &session.config;
    let preview = Preview {
        decoder,
        rows_per_epoch: train_classes.len() as u64,
        first,
        scored_rows: [
            valid.rows.len() as u64,
            (valid.rows.len() + test.rows.len()) as u64,
        ],
    };
    let scoring = ClassScoring {
        labels,
        reading,
        valid,
        valid_prefix,
        test,
        train_texts,
        train_classes,
        precision: config.trainer.precision,
        max_rows: config.eval.max_rows as usize,
        choose_threshold: config.classes.choose_threshold,
        threshold: chosen,
    };
    let mut objective = Classes::new(rows, &config.trainer, Seed(config.seed), &device)
        .with_label_smoothing(config.classes.label_smoothing)
        .untrained(is_new);
    if let Some(cache) = train_prefix {
        objective = objective.with_prefix(cache)?;
    }
    let (files, sections) = passport_files(&prepared);
    let metrics = scoring.metrics();
    let (evaluate, summarise) = scoring.hooks();
    Ok(Parts {
        model,
        objective,
        evaluate: Some(evaluate),
        metrics,
        sample: None,
        summarise,
        store,
        tokenizer: text.tokenizer,
        preview,
        files,
        sections,
    })
}

/// The classes: those of the training records, or those that the config names, which must be all of them.
fn labels_of(train: &[&Record], named: &[String]) -> Result<Vec<String>, PipelineError> {
    let fault = |fault: String| Err(PipelineError::Classes(fault));
    let mut found = BTreeSet::new();
    for record in train {
        let Some(label) = record.label() else {
            return fault(format!(
                "{}: has no label; give labelled records (data.form, data.fields.label)",
                record.origin
            ));
        };
        found.insert(label);
    }
    if let Some(label) = found.iter().find(|label| label.trim().is_empty()) {
        return fault(format!(
            "a label is empty ({label:?}); name the class, or skip such records"
        ));
    }
    if named.is_empty() {
        let labels: Vec<String> = found.iter().map(|&label| label.to_owned()).collect();
        if let [only] = labels.as_slice() {
            return fault(format!(
                "all training records are `{only}`; a classifier needs two classes or more"
            ));
        }
        return Ok(labels);
    }
    if let Some(label) = found
        .iter()
        .find(|label| !named.iter().any(|name| name == *label))
    {
        return fault(format!(
            "classes.labels: the training records have a class `{label}` that is not listed; add it, or leave the list out"
        ));
    }
    if let Some(name) = named.iter().find(|name| !found.contains(name.as_str())) {
        return fault(format!(
            "classes.labels: no training record is `{name}`; take it out, or give records of it"
        ));
    }
    Ok(named.to_vec())
}

/// How texts become rows.
struct Encoding<'a> {
    text: &'a TextParts,
    labels: &'a [String],
    most: usize,
}

impl Encoding<'_> {
    /// The rows of records, and how many were cut.
    fn rows<'r>(
        &self,
        records: impl Iterator<Item = &'r Record>,
    ) -> Result<(Vec<ClassRow>, usize), PipelineError> {
        let mut cut = 0;
        let mut rows = Vec::new();
        for record in records {
            let Body::Labelled { text, label } = &record.body else {
                return Err(PipelineError::Classes(format!(
                    "{}: has no label",
                    record.origin
                )));
            };
            let class = self.labels.iter().position(|name| **name == **label);
            let Some(class) = class else {
                let known = self.labels.join("`, `");
                return Err(PipelineError::Classes(format!(
                    "{}: is of class `{label}`, which no training record has (they have `{known}`); mend the label, or take the record out",
                    record.origin
                )));
            };
            let mut ids = self.text.start_of(text);
            if ids.is_empty() {
                return Err(PipelineError::Classes(format!(
                    "{}: the text has no token; take the record out",
                    record.origin
                )));
            }
            cut += usize::from(ids.len() > self.most);
            ids.truncate(self.most);
            rows.push(ClassRow {
                ids,
                class: class as u32,
                weight: record.weight,
            });
        }
        Ok((rows, cut))
    }

    fn labelled(&self, records: &[Record]) -> Result<(Labelled, usize), PipelineError> {
        let (rows, cut) = self.rows(records.iter())?;
        let texts = records
            .iter()
            .map(|record| record.texts().concat())
            .collect();
        let origins = records
            .iter()
            .map(|record| record.origin.to_string())
            .collect();
        Ok((
            Labelled {
                rows,
                texts,
                origins,
            },
            cut,
        ))
    }
}

/// A model with a head for the labels, and whether the head was just drawn: one of a classifier of the
/// same classes is kept.
fn start_model(
    folder: &Path,
    labels: &[String],
    seed: Seed,
    host: &Host,
    text: &TextParts,
) -> Result<(WithHead<Gpt>, bool), PipelineError> {
    let device = host.device.clone().autodiff();
    if has_class_head(folder)? {
        let (model, head) = load_with_head(folder, &device)?;
        if head.labels == labels {
            return Ok((model, false));
        }
        host.note(format!(
            "the weights' head tells other classes apart ({}); a new one is drawn",
            head.labels.join(", ")
        ));
        let model = WithHead::init(model.lm.without_head(), labels.len(), seed, &device);
        return Ok((model, true));
    }
    let lm = load_model(folder, &device)?;
    probe_weights(&lm, &text.tokenizer, folder, host)?;
    let model = WithHead::init(lm.without_head(), labels.len(), seed, &device);
    Ok((model, true))
}

fn with_dropout(model: WithHead<Gpt>, dropout: f64) -> WithHead<Gpt> {
    WithHead {
        lm: model.lm.with_dropout(dropout),
        score: model.score,
    }
}

/// The first rows as a plan shows them.
fn batch_of(rows: &[ClassRow], pad_id: u32) -> Batch {
    let shown = &rows[..rows.len().min(2)];
    let seq = shown.iter().map(|row| row.ids.len()).max().unwrap_or(1);
    let mut batch = Batch::padded(shown.len(), seq, pad_id);
    for (at, row) in shown.iter().enumerate() {
        batch.ids[at * seq..][..row.ids.len()].copy_from_slice(&row.ids);
        batch.lengths[at] = row.ids.len() as u32;
    }
    batch
}
