//! What a run starts with: its text, its model, and what the machine decides.

use anyhow::Result;
use serde_json::{Value, json};
use sinterlm::burn::tensor::{DType, Device};
use sinterlm::config::Seed;
use sinterlm::data::{DataError, Prepared, Tokenizer, TokenizerConfig};
use sinterlm::model::{Gpt, Precision, load_model};
use sinterlm::run::{Options, available_memory_bytes};
use sinterlm::trainer::MicroBatch;

use super::Session;
use crate::data::load_text;
use crate::data_files::{changed_files, data_files};
use crate::exit::{Failure, OrFailure, say};
use crate::weights::probe_weights;

impl Session {
    /// Prepares the text.
    ///
    /// # Errors
    /// Exit status 2 for faulty text, tokenizer or cache, and for text that is no longer what the
    /// run began with, unless that is accepted.
    pub fn prepare_text(&mut self, options: &Options) -> Result<Prepared, Failure> {
        let seed = Seed(self.config.seed);
        let own_tokenizer = self.dir.tokenizer_path();
        if options.accept_changed_data && own_tokenizer.is_file() {
            self.config.data.fingerprint = None;
            // One trained of the changed text would give the ids another meaning.
            let path = std::path::absolute(own_tokenizer).or_unusable()?;
            self.config.tokenizer = TokenizerConfig::File { path };
        }
        let tokenizer = self.config.tokenizer.clone();
        let prepared = load_text(options, &mut self.config.data, &tokenizer, seed)
            .map_err(|error| self.explain_change(error))
            .or_unusable()?;
        let files = data_files(&prepared.resolved.source);
        self.provenance.set("data_files", json!(files));
        say(format!("data: {}", prepared.report.text));
        self.config.data = prepared.resolved.clone();
        self.config.tokenizer = prepared.resolved_tokenizer.clone();
        self.provenance
            .set("data", prepared.fingerprints.source.as_str());
        self.provenance
            .set("tokenizer", prepared.fingerprints.tokenizer.as_str());
        Ok(prepared)
    }

    /// Puts the files that changed in place of the fingerprints, where a run goes on.
    fn explain_change(&self, error: anyhow::Error) -> anyhow::Error {
        let changed = matches!(error.downcast_ref(), Some(DataError::SourceChanged { .. }));
        if !changed || self.resumed.is_none() {
            return error;
        }
        let text = std::fs::read_to_string(self.dir.provenance_path()).unwrap_or_default();
        let record: Value = serde_json::from_str(&text).unwrap_or_default();
        let files = data_files(&self.config.data.source);
        let mut lines = changed_files(&record["data_files"], &files);
        if lines.is_empty() {
            lines.push(error.to_string());
        }
        anyhow::anyhow!(
            "the text is no longer what the run began with; put it back, or go on with what there is now by --accept-changed-data:\n  {}",
            lines.join("\n  ")
        )
    }

    /// The model at the start: the checkpoint's, the one of `--model`, or drawn from the seed.
    ///
    /// # Errors
    /// Exit status 2 for weights that can't be used or a vocabulary below the tokenizer's.
    pub fn starting_model(
        &mut self,
        tokenizer: &Tokenizer,
        device: &Device,
    ) -> Result<Gpt, Failure> {
        let checkpoint = self.checkpoint.as_ref().map(|found| &found.path);
        let folder = checkpoint.or(self.config.weights.as_ref());
        if let Some(folder) = folder {
            let own = folder.join("tokenizer.json").is_file();
            let whose = if own {
                ""
            } else {
                ", without a tokenizer: the config's is used"
            };
            say(format!("weights: {}{whose}", folder.display()));
        }
        let (found, needed) = (self.config.model.vocab_size, tokenizer.vocab_size());
        if found < needed {
            let error = anyhow::anyhow!(
                "model.vocab_size: {found} is below the tokenizer's {needed} tokens; set it to {needed}, or use the tokenizer that the weights were trained with"
            );
            return Err(error).or_unusable();
        }
        let config = &self.config.model;
        let model = match folder {
            Some(folder) => load_model(folder, device)
                .or_unusable()?
                .with_dropout(config.dropout),
            None => config.init(Seed(self.config.seed), device),
        };
        if let (Some(path), None) = (folder, checkpoint) {
            probe_weights(&model, tokenizer, path, device).or_unusable()?;
        }
        let parameters = config.parameters();
        say(format!(
            "model: {} layers, width {}, context {}, {} parameters ({} in embeddings)",
            config.n_layers,
            config.d_model,
            config.max_seq_len,
            parameters.total,
            parameters.embedding
        ));
        Ok(model)
    }

    /// Resolves what the config leaves to the machine: `trainer.precision = "auto"`, and
    /// `trainer.micro_batch_size = "auto"` by the memory that is free.
    ///
    /// # Errors
    /// Exit status 2 where nothing fits, where the device doesn't tell its memory, or where it has no
    /// half precision that is asked for.
    pub fn fit_to_machine(
        &mut self,
        model: &Gpt,
        device: &Device,
        device_name: &str,
    ) -> Result<(), Failure> {
        let available = available_memory_bytes().filter(|_| device_name == "flex");
        let config = &mut self.config;
        config.trainer.precision = config.trainer.precision.on(device);
        if config.trainer.precision == Precision::F16 && !device.supports_dtype(DType::F16) {
            let error = anyhow::anyhow!(
                "trainer.precision: {device_name} has no half precision; use \"f32\" or \"bf16\""
            );
            return Err(error).or_unusable();
        }
        let precision = format!("{:?}", config.trainer.precision).to_lowercase();
        say(format!("precision: matrix products in {precision}"));
        match (config.trainer.micro_batch_size, available) {
            (MicroBatch::Rows(_), _) => Ok(()),
            (MicroBatch::Auto(_), Some(available)) => {
                let optimizer = config.optimizer.memory_of(model);
                config.trainer.fit_micro_batch(&config.model, optimizer, available).or_unusable()
            }
            (MicroBatch::Auto(_), None) => Err(anyhow::anyhow!(
                "trainer.micro_batch_size: \"auto\" needs to know the memory, which {device_name} does not tell; give a number"
            ))
            .or_unusable(),
        }
    }
}
