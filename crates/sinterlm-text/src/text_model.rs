//! A model with its tokenizer and template. How texts are continued is in `continuing`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use sinterlm_config::Seed;
use sinterlm_data::{ChatTemplate, DataError, PromptTemplate, TextMarks, Tokenizer, tokenizer_of};
use sinterlm_formats::WeightFile;
use sinterlm_model::{
    Gpt, LoadOptions, SampleConfig, WeightsAs, find_model, has_class_head, load_model_with,
    read_end_ids,
};

use crate::continuing::{Continuing, start_of_text};
use crate::error::TextError;

/// How a [`TextModel`] is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Another tokenizer than the weights': a file, or a folder that holds one.
    pub tokenizer: Option<PathBuf>,
    /// How weights are held in memory.
    pub weights: WeightsAs,
}

/// A model with what turns text into its tokens and back.
#[derive(Debug)]
pub struct TextModel {
    /// The model folder or file.
    pub path: PathBuf,
    /// The model.
    pub model: Gpt,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Its chat template, none where it is faulty; see [`chat_template`](Self::chat_template).
    pub template: Option<ChatTemplate>,
    /// The form that its instructions were written in when it was tuned on them.
    pub form: Option<PromptTemplate>,
    /// Why the template cannot be used.
    template_fault: Option<Arc<DataError>>,
    /// Tokens that end a text: the tokenizer's, and those that the model's description names.
    pub ends: Vec<u32>,
    /// Where the model computes.
    pub device: Device,
    /// Whether a text begins as the tokenizer says, and not with the end of the text before it, as in
    /// our training. Files of others say it, folders as [`TextMarks::are_named`] tells.
    is_published: bool,
}

impl TextModel {
    /// Loads a model folder (a checkpoint is one), GGUF or llama2.c file with the tokenizer that belongs
    /// to it, or with another one. Run directories and names of the Hub are the pipelines' to resolve.
    ///
    /// # Errors
    /// Where there is no model or no tokenizer, or they do not belong together;
    /// [`TextError::HasClassHead`] for a classifier. A faulty chat template is an error only where it is
    /// [needed](Self::chat_template).
    pub fn open(path: &Path, options: &OpenOptions, device: &Device) -> Result<Self, TextError> {
        let path = find_model(path)?;
        if has_class_head(&path)? {
            return Err(TextError::HasClassHead { path });
        }
        let form = PromptTemplate::of_folder(&path)?;
        let load = LoadOptions {
            weights: options.weights,
            ..LoadOptions::default()
        };
        let (parts, model) = rayon::join(
            || text_parts(&path, options.tokenizer.as_deref()),
            || load_model_with(&path, device, &load),
        );
        let ((tokenizer, template), (model, _)) = (parts?, model?);
        if form == Some(PromptTemplate::Chat) && matches!(template, Ok(None)) {
            let path = path.join(PromptTemplate::FILE);
            return Err(TextError::FormWithoutTemplate { path });
        }
        let (knows, holds) = (tokenizer.vocab_size(), model.config().vocab_size);
        if knows > holds {
            return Err(TextError::OtherTokenizer { path, knows, holds });
        }
        let mut ends = tokenizer.ends();
        let marks = ["<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>"];
        ends.extend(marks.iter().filter_map(|mark| tokenizer.special(mark)));
        ends.extend(read_end_ids(&path)?);
        Ok(Self {
            is_published: is_published(&path, &tokenizer),
            path,
            model,
            tokenizer,
            template_fault: template.as_ref().err().cloned(),
            template: template.unwrap_or_default(),
            form,
            ends,
            device: device.clone(),
        })
    }

    /// The chat template, if there is one.
    ///
    /// # Errors
    /// [`TextError::Template`] where it is faulty, or not named among several.
    pub fn chat_template(&self) -> Result<Option<&ChatTemplate>, TextError> {
        match &self.template_fault {
            Some(fault) => Err(TextError::Template(Arc::clone(fault))),
            None => Ok(self.template.as_ref()),
        }
    }

    /// The ids of a prompt at the start of a text.
    pub fn prompt(&self, text: &str) -> Vec<u32> {
        if self.is_published {
            let ids = self.tokenizer.encode_with_template(text);
            if !ids.is_empty() {
                return ids;
            }
        }
        start_of_text(&self.tokenizer, text)
    }

    /// What stands before a text that this model reads: the end of the text before for models of ours,
    /// what the tokenizer puts there, which may be nothing, for others.
    pub fn begin(&self) -> Vec<u32> {
        begin(self.is_published, &self.tokenizer)
    }

    /// How this model continues texts where nothing else is said: drawn one token after another, up
    /// to one of its [`ends`](Self::ends).
    pub fn continuing(&self, config: &SampleConfig, seed: Seed) -> Continuing<'_> {
        Continuing {
            ends: self.ends.clone(),
            config: config.clone(),
            seed,
            ..Continuing::new(&self.tokenizer)
        }
    }

    /// Continues a text and returns what comes after it.
    ///
    /// # Errors
    /// As [`generate`](sinterlm_model::generate).
    pub fn continue_text(
        &self,
        prompt: &str,
        config: &SampleConfig,
        seed: Seed,
    ) -> Result<String, TextError> {
        let mut text = String::new();
        let prompts = vec![self.prompt(prompt)];
        let continuing = self.continuing(config, seed);
        continuing.texts(&self.model, prompts, |_, piece| text.push_str(piece))?;
        Ok(text)
    }
}

/// What stands before a text that the model folder or file at `path` reads: see [`TextModel::begin`].
pub fn begin_of(path: &Path, tokenizer: &Tokenizer) -> Vec<u32> {
    begin(is_published(path, tokenizer), tokenizer)
}

fn is_published(path: &Path, tokenizer: &Tokenizer) -> bool {
    path.is_file() || TextMarks::are_named(path, tokenizer)
}

fn begin(is_published: bool, tokenizer: &Tokenizer) -> Vec<u32> {
    if is_published {
        tokenizer.beginning()
    } else {
        vec![tokenizer.end_of_text()]
    }
}
/// A chat template, or why it cannot be used.
type Template = Result<Option<ChatTemplate>, Arc<DataError>>;

/// Tokenizer and chat template of a model folder or file.
fn text_parts(path: &Path, other: Option<&Path>) -> Result<(Tokenizer, Template), TextError> {
    let other = other.map(Tokenizer::from_file).transpose()?;
    if path.is_dir() {
        let template = ChatTemplate::from_folder(path).map_err(Arc::new);
        let own = || Tokenizer::from_file(path);
        return Ok((other.map_or_else(own, Ok)?, template));
    }
    let template = match WeightFile::open(path)? {
        WeightFile::Gguf(file) => ChatTemplate::from_gguf(&file).map_err(Arc::new),
        _ => Ok(None),
    };
    let own = match tokenizer_of(path)? {
        Some(own) if other.is_none() => Some(Tokenizer::from_file(&own)?),
        _ => None,
    };
    let tokenizer = other.or(own).ok_or_else(|| TextError::NoTokenizer {
        path: path.to_owned(),
    });
    Ok((tokenizer?, template))
}
