//! What a pipeline gives a session to train: model, objective, and what is done beside the steps.

use std::fmt::{self, Debug, Formatter};
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use sinterlm_data::{Batch, Tokenizer};
use sinterlm_formats::write_file_atomic;
use sinterlm_model::{
    ClassHead, Gpt, GptConfig, ModelError, SaveOptions, WithHead, load_model, load_with_head,
    save_model, save_with_head,
};
use sinterlm_run::{EvalRecord, Section, Summary};
use sinterlm_trainer::{Evaluate, Sample, SaveModel, TrainError};

/// Adds the figures of the last evaluation to the summary, and gives what else is kept of it.
pub type Summarise<'a> = Box<dyn FnOnce(&EvalRecord, &mut Summary) -> Results + 'a>;

/// What a run keeps of its last evaluation beside the summary.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Results {
    /// What the report shows.
    pub sections: Vec<Section>,
    /// Files of the run directory, by name: each item with what was said of it.
    pub files: Vec<(String, Vec<u8>)>,
}

/// What a session trains. A pipeline makes them; whoever wants another metric or other samples changes
/// them before [`Session::train`](crate::Session::train).
pub struct Parts<'a, M, O> {
    /// The model at the start, on an autodiff device.
    pub model: M,
    /// What it is trained on and towards.
    pub objective: O,
    /// Scores it during the run and at its end.
    pub evaluate: Option<Evaluate<'a, M>>,
    /// Figures that `evaluate` gives, by their metric names; gates may be about these.
    pub metrics: Vec<String>,
    /// Writes samples during the run and at its end.
    pub sample: Option<Sample<'a, M>>,
    /// Puts the figures of the last evaluation into `summary.json`.
    pub summarise: Summarise<'a>,
    /// Writes and reads the model.
    pub store: ModelStore<M>,
    /// The tokenizer, copied beside every model that is written.
    pub tokenizer: Tokenizer,
    /// What a plan shows.
    pub preview: Preview,
    /// Further files of the run directory, by name.
    pub files: Vec<(String, Vec<u8>)>,
    /// What the report shows of the data.
    pub sections: Vec<Section>,
}

impl<M, O> Debug for Parts<'_, M, O> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("metrics", &self.metrics)
            .field("preview", &self.preview)
            .finish_non_exhaustive()
    }
}

/// What is known of a run before its first step.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The decoder.
    pub decoder: GptConfig,
    /// Rows of one pass over the data.
    pub rows_per_epoch: u64,
    /// The first rows.
    pub first: Batch,
    /// Rows that an evaluation on the way scores, and the one at the end: a time budget counts them.
    pub scored_rows: [u64; 2],
}

/// Reads a model from a folder onto a device.
type LoadModel<M> = Arc<dyn Fn(&Path, &Device) -> Result<M, ModelError> + Send + Sync>;

/// How a model is written into checkpoints and into `model/`, and read from them.
pub struct ModelStore<M> {
    save: SaveModel<M>,
    load: LoadModel<M>,
}

impl<M> ModelStore<M> {
    /// A store made of two functions: `save(folder, model)` and `load(folder, device)`.
    pub fn new(
        save: impl Fn(&Path, &M) -> Result<(), TrainError> + Send + Sync + 'static,
        load: impl Fn(&Path, &Device) -> Result<M, ModelError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            save: Arc::new(save),
            load: Arc::new(load),
        }
    }

    /// Writes a model into a folder that is there.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub fn save(&self, folder: &Path, model: &M) -> Result<(), TrainError> {
        (self.save)(folder, model)
    }

    /// Reads a model.
    ///
    /// # Errors
    /// Where the folder holds no such model.
    pub fn load(&self, folder: &Path, device: &Device) -> Result<M, ModelError> {
        (self.load)(folder, device)
    }

    /// The store with further files in every folder that it writes: what readers of the model need beside
    /// its weights.
    #[must_use]
    pub fn with_files(self, files: Vec<(String, Vec<u8>)>) -> Self
    where
        M: 'static,
    {
        let (save, load) = (self.save, self.load);
        Self {
            save: Arc::new(move |folder: &Path, model: &M| {
                save(folder, model)?;
                for (name, bytes) in &files {
                    write_file_atomic(folder.join(name), |out| out.write_all(bytes))
                        .map_err(ModelError::from)?;
                }
                Ok(())
            }),
            load,
        }
    }

    pub(crate) fn saver(&self) -> impl Fn(&Path, &M) -> Result<(), TrainError> + use<M> {
        let save = Arc::clone(&self.save);
        move |folder, model| save(folder, model)
    }
}

impl ModelStore<Gpt> {
    /// All of a decoder, in the Hugging Face layout; `end_of_text` is named as the token that ends a
    /// text.
    pub fn whole(end_of_text: u32) -> Self {
        Self::new(
            move |folder, model| Ok(save_model(folder, model, end_of_text)?),
            load_model,
        )
    }
}

impl ModelStore<WithHead<Gpt>> {
    /// All of a decoder with its class head, in the Hugging Face layout, described by what `head` gives at
    /// the time; `end_of_text` is named as the token that ends a text.
    pub fn with_head(
        head: impl Fn() -> ClassHead + Send + Sync + 'static,
        end_of_text: u32,
    ) -> Self {
        let options = SaveOptions::new(end_of_text);
        Self::new(
            move |folder, model| Ok(save_with_head(folder, model, &head(), &options)?),
            |folder, device| load_with_head(folder, device).map(|(model, _)| model),
        )
    }
}

// Written out, as a derive would ask the same of `M`.
impl<M> Clone for ModelStore<M> {
    fn clone(&self) -> Self {
        Self {
            save: Arc::clone(&self.save),
            load: Arc::clone(&self.load),
        }
    }
}

impl<M> Debug for ModelStore<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelStore").finish_non_exhaustive()
    }
}
