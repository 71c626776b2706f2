//! A model with all that turns text into its tokens: tokenizer, marks, chat template.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use sinterlm::burn::tensor::Device;
use sinterlm::data::{ChatTemplate, TextMarks, Tokenizer, has_text_files};
use sinterlm::formats::WeightFile;
use sinterlm::model::{Gpt, load_model, read_end_ids};

/// A model, its tokenizer, and how texts and conversations begin and end.
#[derive(Debug)]
pub struct TextModel {
    /// The model folder or file.
    pub path: PathBuf,
    /// The model, in f32.
    pub model: Gpt,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Its marks.
    pub marks: TextMarks,
    /// Its chat template, if any.
    pub template: Option<ChatTemplate>,
    /// The model folder, where it holds files for text as published ones do.
    pub text_folder: Option<PathBuf>,
    /// Whether its tokenizer says how a text begins; otherwise it begins as in our training.
    is_published: bool,
}

impl TextModel {
    /// Reads a model folder or file; `tokenizer` replaces its own.
    ///
    /// # Errors
    /// Where a part is missing or damaged, or they do not belong together.
    pub fn open(path: &Path, tokenizer: Option<&Path>, device: &Device) -> Result<Self> {
        let own = match tokenizer {
            None if path.is_file() => Some(WeightFile::open(path)?),
            _ => None,
        };
        let (read, marks, mut template, is_published);
        if let Some(WeightFile::Gguf(file)) = &own {
            read = Tokenizer::from_gguf(file)?;
            marks = TextMarks::from_gguf(file)?;
            template = ChatTemplate::from_gguf(file)?;
            is_published = true;
        } else {
            let beside = path.join("tokenizer.json");
            let file = tokenizer.unwrap_or(&beside);
            if own.is_some() {
                bail!(
                    "{}: holds no tokenizer; name one by --tokenizer",
                    path.display()
                );
            }
            let folder = file.parent().unwrap_or(path);
            read = Tokenizer::from_file(file)?;
            marks = TextMarks::from_folder(folder, &read, &read_end_ids(path)?)?;
            template = ChatTemplate::from_folder(folder)?;
            is_published = has_text_files(folder);
        }
        if let Some(template) = &mut template {
            // A folder of ours names no marks; what is written from it will.
            for (name, id) in [("bos_token", marks.bos), ("eos_token", marks.eos)] {
                if let Some(id) = id {
                    let text = || read.decode(&[id]).into();
                    template
                        .variables
                        .entry(name.to_owned())
                        .or_insert_with(text);
                }
            }
        }
        let model = load_model(path, device)?;
        let (knows, holds) = (read.vocab_size(), model.config().vocab_size);
        if knows > holds {
            bail!(
                "{}: the tokenizer knows {knows} tokens, the weights {holds}; it is that of another \
                 model",
                path.display()
            );
        }
        Ok(Self {
            path: path.to_owned(),
            model,
            tokenizer: read,
            marks,
            template,
            text_folder: (tokenizer.is_none() && path.is_dir() && is_published)
                .then(|| path.to_owned()),
            is_published,
        })
    }

    /// The ids of a prompt at the start of a text.
    pub fn prompt(&self, text: &str) -> Vec<u32> {
        let begin = self.marks.bos.filter(|_| !self.is_published);
        let ids = self.tokenizer.encode_with_template(text);
        begin.into_iter().chain(ids).collect()
    }
}
