//! What a run starts with: its text, its model, and what the machine decides.

use std::path::Path;

use burn::module::Module;
use burn::tensor::DType;
use serde_json::{Value, json};
use sinterlm_data::{
    DataConfig, DataError, Prepared, Tokenizer, TokenizerConfig, prepare, tokenizer_of,
};
use sinterlm_model::{Gpt, GptConfig, Precision};
use sinterlm_run::available_memory_bytes;
use sinterlm_trainer::MicroBatch;

use super::Session;
use crate::data_files::{changed_files, data_files};
use crate::error::PipelineError;
use crate::host::Told;
use crate::parts::ModelStore;
use crate::run_config::RunConfig;
use crate::weights::{absolute, probe_weights, refuse_unless_text};

impl<C: RunConfig> Session<C> {
    /// Prepares the text. The config that repeats it, [`Prepared::resolved`] and
    /// [`Prepared::resolved_tokenizer`], is the caller's to put in place.
    ///
    /// # Errors
    /// For faulty text, tokenizer or cache, and for text that is no longer what the run began with,
    /// unless the host accepts that.
    pub fn prepare_text(
        &mut self,
        data: &DataConfig,
        tokenizer: &TokenizerConfig,
    ) -> Result<Prepared, PipelineError> {
        let (mut data, mut tokenizer) = (data.clone(), tokenizer.clone());
        let own_tokenizer = self.dir.tokenizer_path();
        if self.host.accept_changed_data && own_tokenizer.is_file() {
            data.fingerprint = None;
            // One trained of the changed text would give the ids another meaning.
            refuse_unless_text(&own_tokenizer)?;
            let path = absolute(&own_tokenizer)?;
            tokenizer = TokenizerConfig::File { path };
        }
        if data.cache_dir.is_none() {
            data.cache_dir.clone_from(&self.host.cache_dir);
        }
        let host = &self.host;
        let (seed, offline) = (self.config.tables().seed, host.offline);
        let mut progress = |now| host.tell(Told::Preparing(now));
        let prepared = prepare(&data, &tokenizer, seed, offline, &mut progress)
            .map_err(|error| self.explain_change(error, &data))?;
        let files = data_files(&prepared.resolved.source);
        self.host.say(format!("data: {}", prepared.report.text));
        self.provenance
            .set("data_files", json!(files))
            .set("data", prepared.fingerprints.source.as_str())
            .set("tokenizer", prepared.fingerprints.tokenizer.as_str());
        Ok(prepared)
    }

    /// Puts the files that changed in place of the fingerprints, where a run is resumed.
    fn explain_change(&self, error: DataError, data: &DataConfig) -> PipelineError {
        if !matches!(error, DataError::SourceChanged { .. }) || self.resumed.is_none() {
            return error.into();
        }
        let text = std::fs::read_to_string(self.dir.provenance_path()).unwrap_or_default();
        let record: Value = serde_json::from_str(&text).unwrap_or_default();
        let files = data_files(&data.source);
        let mut changes = changed_files(&record["data_files"], &files);
        if changes.is_empty() {
            changes.push(error.to_string());
        }
        PipelineError::ChangedText { changes }
    }

    /// The decoder at the start, on the autodiff device: that of the checkpoint, of `weights`, or one
    /// drawn from the seed, with the dropout of `decoder`.
    ///
    /// # Errors
    /// For weights that can't be used or a vocabulary below the tokenizer's.
    pub fn starting_model(
        &self,
        decoder: &GptConfig,
        weights: Option<&Path>,
        tokenizer: &Tokenizer,
        store: &ModelStore<Gpt>,
    ) -> Result<Gpt, PipelineError> {
        let host = &self.host;
        let checkpoint = self.checkpoint.as_ref().map(|found| found.path.as_path());
        let folder = checkpoint.or(weights);
        if let Some(folder) = folder {
            let whose = if tokenizer_of(folder)?.is_some() {
                ""
            } else {
                ", without a tokenizer: the config's is used"
            };
            host.say(format!("weights: {}{whose}", folder.display()));
        }
        let (found, needed) = (decoder.vocab_size, tokenizer.vocab_size());
        if found < needed {
            return Err(PipelineError::VocabularyTooSmall { found, needed });
        }
        let device = host.device.clone().autodiff();
        let model = match folder {
            Some(folder) => store.load(folder, &device)?.with_dropout(decoder.dropout),
            None => decoder.init(self.config.tables().seed, &device),
        };
        if let (Some(path), None) = (folder, checkpoint) {
            probe_weights(&model, tokenizer, path, host)?;
        }
        self.say_model(decoder);
        Ok(model)
    }

    pub(crate) fn say_model(&self, decoder: &GptConfig) {
        let parameters = decoder.parameters();
        self.host.say(format!(
            "model: {} layers, width {}, context {}, {} parameters ({} in embeddings)",
            decoder.n_layers,
            decoder.d_model,
            decoder.max_seq_len,
            parameters.total,
            parameters.embedding
        ));
    }

    /// Resolves what the config leaves to the machine: `trainer.precision = "auto"`, and
    /// `trainer.micro_batch_size = "auto"` by the memory that is free.
    ///
    /// # Errors
    /// Where nothing fits, where the device doesn't tell its memory, or where it has no half precision
    /// that is asked for.
    pub fn fit_to_machine<M: Module>(
        &mut self,
        model: &M,
        decoder: &GptConfig,
    ) -> Result<(), PipelineError> {
        let host = &self.host;
        let device = host.device.clone().autodiff();
        let available = available_memory_bytes().filter(|_| host.device_name == "flex");
        let optimizer = self.config.tables().optimizer.clone();
        let trainer = self.config.trainer_mut();
        trainer.precision = trainer.precision.on(&device);
        if trainer.precision == Precision::F16 && !device.supports_dtype(DType::F16) {
            let device = host.device_name.clone();
            return Err(PipelineError::NoHalfPrecision { device });
        }
        let precision = format!("{:?}", trainer.precision).to_lowercase();
        host.say(format!("precision: matrix products in {precision}"));
        match (trainer.micro_batch_size, available) {
            (MicroBatch::Rows(_), _) => Ok(()),
            (MicroBatch::Auto(_), Some(available)) => {
                let memory = optimizer.memory_of(model);
                trainer
                    .fit_micro_batch(decoder, memory, available)
                    .map_err(PipelineError::DoesNotFit)
            }
            (MicroBatch::Auto(_), None) => {
                let device = host.device_name.clone();
                Err(PipelineError::MemoryUnknown { device })
            }
        }
    }
}
