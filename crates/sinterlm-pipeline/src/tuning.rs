//! What the pipelines of fine-tuning share: the weights that they start from with their text parts, and
//! their records.

use std::path::{Path, PathBuf};

use serde_json::json;
use sinterlm_data::{
    ChatTemplate, DataError, Hub, HygieneStep, Passport, PreparedRecords, RecordPlan,
    RecordsConfig, SplitConfig, Tokenizer, prepare_records, tokenizer_of,
};
use sinterlm_formats::WeightFile;
use sinterlm_model::{GptConfig, read_config, read_end_ids};
use sinterlm_run::Section;
use sinterlm_text::{TextError, begin_of, text_files_of};

use crate::base::trained_base;
use crate::error::PipelineError;
use crate::host::{Host, Told};
use crate::run_config::RunConfig;
use crate::session::Session;
use crate::weights::find_weights;

/// Name of the file beside a model's weights that says which records it was tuned on.
const TRAINING_DATA: &str = "training_data.json";

/// Resolves where fine-tuning starts: `weights`, else the base model of a pretraining config, which is
/// trained where the cache has none. `model` becomes that of the weights, with its own dropout.
pub(crate) fn resolve_start(
    weights: &mut Option<PathBuf>,
    base: &mut Option<PathBuf>,
    model: &mut GptConfig,
    host: &Host,
) -> Result<(), PipelineError> {
    let folder = match (&*weights, &*base) {
        (Some(path), _) => find_weights(path, host)?,
        (None, Some(file)) => trained_base(file, host)?.model.path,
        (None, None) => return Err(PipelineError::NoStart),
    };
    let dropout = model.dropout;
    *model = read_config(&folder)?;
    model.dropout = dropout;
    (*weights, *base) = (Some(folder), None);
    Ok(())
}

/// Resolves the sources of records.
pub(crate) fn resolve_records(data: &mut RecordsConfig, host: &Host) -> Result<(), PipelineError> {
    let hub = Hub::from_env(host.offline);
    for source in data.sources_mut() {
        *source = source.resolved(&hub)?;
    }
    Ok(())
}

/// What turns text into tokens of a model: its tokenizer, what begins a text, what ends one, and its chat
/// template.
#[derive(Clone, Debug)]
pub(crate) struct TextParts {
    pub tokenizer: Tokenizer,
    pub begin: Vec<u32>,
    pub ends: Vec<u32>,
    pub chat: Option<ChatTemplate>,
}

impl TextParts {
    /// Those of a model folder or file.
    pub(crate) fn of(path: &Path) -> Result<Self, PipelineError> {
        let found = tokenizer_of(path)?;
        let found = found.ok_or_else(|| TextError::NoTokenizer {
            path: path.to_owned(),
        })?;
        let tokenizer = Tokenizer::from_file(&found)?;
        let mut ends = tokenizer.ends();
        ends.extend(read_end_ids(path)?);
        ends.sort_unstable();
        ends.dedup();
        let chat = if path.is_dir() {
            ChatTemplate::from_folder(path)?
        } else if let WeightFile::Gguf(file) = WeightFile::open(path)? {
            ChatTemplate::from_gguf(&file)?
        } else {
            None
        };
        Ok(Self {
            begin: begin_of(path, &tokenizer),
            tokenizer,
            ends,
            chat,
        })
    }
}

impl TextParts {
    /// A text's tokens as the model reads it from its beginning.
    pub(crate) fn start_of(&self, text: &str) -> Vec<u32> {
        let ids = self.tokenizer.encode(text);
        // A text may begin with the mark itself.
        if self.begin.is_empty() || (!ids.is_empty() && self.begin.last() == ids.first()) {
            return ids;
        }
        [self.begin.as_slice(), &ids].concat()
    }
}

impl<C: RunConfig> Session<C> {
    /// Where weights and text parts come from: the checkpoint of a resumed run, else what the run starts
    /// from.
    pub(crate) fn start_folder(&self, weights: Option<&Path>) -> Result<PathBuf, PipelineError> {
        let folder = self.checkpoint_path().or(weights);
        Ok(folder.ok_or(PipelineError::NoStart)?.to_owned())
    }

    /// Reads, cleans and divides the records.
    ///
    /// # Errors
    /// For faulty sources, and for records that are no longer what the run began with, unless the host
    /// accepts that.
    pub fn prepare_records(
        &mut self,
        data: &RecordsConfig,
        hygiene: &[HygieneStep],
        split: &SplitConfig,
        tokenizer: &Tokenizer,
    ) -> Result<PreparedRecords, PipelineError> {
        let mut data = data.clone();
        if self.host().accept_changed_data {
            data.fingerprint = None;
        }
        let plan = RecordPlan {
            data: &data,
            hygiene,
            split,
            seed: self.config.tables().seed.0,
            tokenizer: Some(tokenizer),
        };
        let host = self.host().clone();
        let hub = Hub::from_env(host.offline);
        let mut progress =
            |file: &str, done, total| host.tell(Told::Downloading { file, done, total });
        let prepared = prepare_records(&plan, &hub, &mut progress);
        let prepared = prepared.map_err(|error| match error {
            DataError::RecordsChanged { sources } if self.is_resumed() => {
                PipelineError::ChangedText { changes: sources }
            }
            other => other.into(),
        })?;
        let passport = &prepared.passport;
        let read: u64 = passport.sources.iter().map(|source| source.records).sum();
        let train: usize = prepared.train.iter().map(|set| set.records.len()).sum();
        let held_out = match prepared.held_out.len() {
            0 => String::new(),
            count => format!(", held out {count}"),
        };
        self.host().say(format!(
            "data: {read} records read; train {train}, valid {}, test {}{held_out}; passport {}",
            prepared.valid.len(),
            prepared.test.len(),
            &passport.fingerprint()[..16]
        ));
        for report in &passport.steps {
            let (before, after) = (report.records_in, report.records_out);
            let (kind, changed) = (report.step.kind(), report.changed);
            let dropped = before - after;
            self.host().say(format!(
                "data: {kind}: {dropped} of {before} dropped, {changed} changed"
            ));
        }
        for warning in &passport.warnings {
            self.host().note(format!("data: {warning}"));
        }
        self.note_data(&prepared.fingerprint, &passport.fingerprint());
        Ok(prepared)
    }
}

/// The passport as files of a run directory and as sections of its report.
pub(crate) fn passport_files(prepared: &PreparedRecords) -> (Vec<(String, Vec<u8>)>, Vec<Section>) {
    let passport = &prepared.passport;
    let file = (
        "passport.json".to_owned(),
        (passport.to_json() + "\n").into_bytes(),
    );
    let sections = passport.tables().into_iter().map(|table| Section {
        title: table.title,
        text: table.text,
        columns: table.columns,
        rows: table.rows,
    });
    (vec![file], sections.collect())
}

/// What stands beside the weights of a tuned model: the files by which its base says how text is read,
/// and where its data came from.
pub(crate) fn side_files(
    start: &Path,
    tokenizer: &Tokenizer,
    passport: &Passport,
) -> Result<Vec<(String, Vec<u8>)>, PipelineError> {
    let mut files = text_files_of(start, tokenizer)?;
    let data = json!({
        "passport": passport.fingerprint(),
        "records": passport.records,
        "hash": passport.hash,
    });
    files.push((TRAINING_DATA.to_owned(), format!("{data:#}\n").into_bytes()));
    Ok(files)
}
