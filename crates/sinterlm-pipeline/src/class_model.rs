//! A classifier with its tokenizer: texts in, classes with probabilities out.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use sinterlm_data::{Body, PromptTemplate, Prompter, Tokenizer};
use sinterlm_eval::class_probabilities;
use sinterlm_model::{
    CausalLm, ClassHead, ForwardCtx, Gpt, WithHead, has_class_head, load_with_head,
};
use sinterlm_text::{TextError, begin_of};

use crate::error::PipelineError;
use crate::host::Host;
use crate::weights::find_weights;

/// A decoder with a class head, its tokenizer, and what stands before a text that it reads.
#[derive(Debug)]
pub struct ClassModel {
    /// The model folder.
    pub path: PathBuf,
    /// The model.
    pub model: WithHead<Gpt>,
    /// What its outputs mean, and what it reads.
    pub head: ClassHead,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// What stands before a text that it reads.
    pub begin: Vec<u32>,
    /// Where the model computes.
    pub device: Device,
}

/// A text with its class. As JSON an object of text, label and the probability of each label.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Classified {
    /// The text.
    pub text: String,
    /// The likeliest class, or the one that the head's threshold decides for.
    pub label: String,
    /// Each class with its probability, in the order of the head's outputs.
    #[serde(serialize_with = "as_map")]
    pub probabilities: Vec<(String, f32)>,
    /// Whether the model read only the beginning, because the text is longer than what it can read.
    #[serde(skip)]
    pub is_cut: bool,
}

impl ClassModel {
    /// Opens the classifier that `path` means: a run directory, a checkpoint, a model folder of ours or of
    /// a `...ForSequenceClassification` class of `transformers`, or a name on the Hub. `tokenizer` is
    /// another tokenizer than the folder's.
    ///
    /// # Errors
    /// [`PipelineError::NoClassHead`] for a model that has no classes, else as
    /// [`find_weights`] and [`load_with_head`].
    pub fn open(path: &Path, tokenizer: Option<&Path>, host: &Host) -> Result<Self, PipelineError> {
        let path = find_weights(path, host)?;
        if !has_class_head(&path)? {
            return Err(PipelineError::NoClassHead { path });
        }
        let tokenizer = Tokenizer::from_file(tokenizer.unwrap_or(&path))?;
        let (model, head) = load_with_head(&path, &host.device)?;
        if head.labels.len() < 2 {
            return Err(PipelineError::NoClassHead { path });
        }
        let (knows, holds) = (tokenizer.vocab_size(), model.lm.config().vocab_size);
        if knows > holds {
            return Err(TextError::OtherTokenizer { path, knows, holds }.into());
        }
        Ok(Self {
            begin: begin_of(&path, &tokenizer),
            path,
            model,
            head,
            tokenizer,
            device: host.device.clone(),
        })
    }

    /// The most tokens of a text that are read. A head that reads the last column was trained on rows of
    /// one length, and reads no more than that.
    pub fn max_tokens(&self) -> usize {
        let reading = &self.head.reading;
        let limits = [reading.min_seq, reading.max_tokens];
        let limits = limits.into_iter().filter(|limit| *limit > 0);
        limits.fold(self.model.max_seq_len(), usize::min)
    }

    /// The class of each text, in their order; as many are read side by side as fit.
    ///
    /// # Errors
    /// [`PipelineError::ScoresNotFinite`] where the model gives no numbers.
    ///
    /// # Example
    /// ```no_run
    /// # fn example() -> Result<(), sinterlm_pipeline::PipelineError> {
    /// use std::path::Path;
    ///
    /// use burn::tensor::Device;
    /// use sinterlm_pipeline::{ClassModel, Host};
    ///
    /// let host = Host::new(Device::flex(), "flex");
    /// let model = ClassModel::open(Path::new("runs/spam"), None, &host)?;
    /// let found = model.classify(&["WIN a prize now"])?;
    /// println!("{}: {:?}", found[0].label, found[0].probabilities);
    /// # Ok(())
    /// # }
    /// ```
    pub fn classify<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Classified>, PipelineError> {
        // The form does not matter: a text with a class is written as it is.
        let form = PromptTemplate::default();
        let prompter = Prompter::new(&form, &self.tokenizer, None, &self.begin)?;
        let max = self.max_tokens();
        let mut rows = Vec::with_capacity(texts.len());
        let mut cut = Vec::with_capacity(texts.len());
        for text in texts {
            let mut ids = prompter.prompt_ids(&Body::Labelled {
                text: text.as_ref().to_owned(),
                label: "".into(),
            })?;
            if ids.is_empty() {
                ids.push(self.tokenizer.end_of_text());
            }
            cut.push(ids.len() > max);
            ids.truncate(max);
            rows.push(ids);
        }
        let (reading, ctx) = (&self.head.reading, ForwardCtx::default());
        let probabilities = class_probabilities(&self.model, &rows, reading, &ctx);
        let labels = &self.head.labels;
        let found = probabilities.chunks_exact(labels.len());
        let found = texts.iter().zip(found).zip(cut);
        found
            .map(|((text, probabilities), is_cut)| {
                if probabilities.iter().any(|p| !p.is_finite()) {
                    let path = self.path.clone();
                    return Err(PipelineError::ScoresNotFinite { path });
                }
                let class = self.head.class_of(probabilities);
                Ok(Classified {
                    text: text.as_ref().to_owned(),
                    label: labels[class].clone(),
                    probabilities: labels
                        .iter()
                        .cloned()
                        .zip(probabilities.iter().copied())
                        .collect(),
                    is_cut,
                })
            })
            .collect()
    }
}

fn as_map<S: Serializer>(entries: &[(String, f32)], to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(Some(entries.len()))?;
    for (label, probability) in entries {
        map.serialize_entry(label, probability)?;
    }
    map.end()
}
