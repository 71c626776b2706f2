//! Writing a model for other programs: written beside its place, read back, held against its source,
//! and moved into place only if it is the same model.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::{Value, json};
use sinterlm::burn::tensor::Device;
use sinterlm::data::{
    ChatMessage, DataError, TextMarks, copy_text_files, has_text_files, save_text_files,
};
use sinterlm::eval::{Fidelity, PromptPair, RECEIPT_PROMPTS, Receipt};
use sinterlm::formats::{BlockType, Dtype, StagedDir, TensorType, WeightFile};
use sinterlm::model::{ModelError, SaveOptions, read_end_ids, save_gguf, save_model_with};
use sinterlm::text::{OpenOptions, TextModel};

use crate::exit::{Failure, OrFailure};

/// Name of the receipt in a folder; beside a file it is the file's name with this behind a dot.
const RECEIPT: &str = "receipt.json";
/// Tokens that each prompt is continued by.
const GREEDY_TOKENS: usize = 32;

/// What a model is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// A folder for `transformers` and what reads its layout.
    Hf,
    /// A file for llama.cpp.
    Gguf,
}

/// Where a model goes, and how.
#[derive(Debug, clap::Args)]
pub struct Destination {
    /// Folder or file to write.
    #[arg(long, value_name = "PATH")]
    pub to: PathBuf,
    /// hf: a model folder; gguf: a file for llama.cpp [default: by the name's ending]
    #[arg(long, value_name = "F")]
    pub format: Option<ExportFormat>,
    /// f32, f16, bf16; in a GGUF also q8_0, q5_1, q5_0, q4_1, q4_0
    #[arg(long, value_name = "T", default_value = "f32", value_parser = tensor_type)]
    pub dtype: TensorType,
    /// Replace an earlier export.
    #[arg(long)]
    pub force: bool,
}

fn tensor_type(name: &str) -> Result<TensorType, String> {
    let plain = [Dtype::F32, Dtype::F16, Dtype::BF16].map(TensorType::from);
    let blocks = [
        BlockType::Q8_0,
        BlockType::Q5_1,
        BlockType::Q5_0,
        BlockType::Q4_1,
        BlockType::Q4_0,
    ];
    let mut known = plain.into_iter().chain(blocks.map(TensorType::from));
    let found = known.find(|dtype| dtype.to_string().eq_ignore_ascii_case(name));
    found.ok_or_else(|| "use f32, f16, bf16, q8_0, q5_1, q5_0, q4_1 or q4_0".to_owned())
}

impl Destination {
    /// What is written: as asked, or by the name's ending.
    pub fn format(&self) -> ExportFormat {
        let is_gguf = self
            .to
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
        let by_name = if is_gguf {
            ExportFormat::Gguf
        } else {
            ExportFormat::Hf
        };
        self.format.unwrap_or(by_name)
    }

    /// Refuses what cannot be written, before a model is read.
    ///
    /// # Errors
    /// For a type that the format does not have, and a place that is taken.
    pub fn check(&self) -> Result<()> {
        let to = self.to.display();
        if self.format() == ExportFormat::Hf && matches!(self.dtype, TensorType::Blocks(_)) {
            let dtype = self.dtype.to_string().to_lowercase();
            bail!("--dtype {dtype}: only a GGUF has such blocks; add --format gguf");
        }
        if fs::symlink_metadata(&self.to).is_err() {
            return Ok(());
        }
        if !self.force {
            bail!("{to}: is there already; give another --to, or --force to replace an export");
        }
        let is_export = match self.format() {
            ExportFormat::Hf => self.to.join(RECEIPT).is_file(),
            ExportFormat::Gguf => self.to.is_file(),
        };
        if !is_export {
            bail!(
                "{to}: is no earlier export, and --force replaces nothing else; give another --to"
            );
        }
        Ok(())
    }

    /// Writes `source`, reads it back, compares, and moves it into place; returns its receipt, also
    /// of a copy that is another model, which is then removed. `tokenizer` is the one that the source
    /// was opened with.
    ///
    /// # Errors
    /// Status 2 for models and tokenizers that the format has no form of, and a place inside the
    /// source; 1 where a file cannot be written.
    pub fn export(
        &self,
        source: &TextModel,
        tokenizer: Option<&Path>,
        device: &Device,
    ) -> Result<Receipt, Failure> {
        self.refuse_source(&source.path).or_unusable()?;
        let name = self
            .to
            .file_name()
            .context("--to: names no file")
            .or_unusable()?;
        // A folder beside the place: renaming within one file system is one step.
        let staged = StagedDir::create(self.to.with_file_name(format!("{}.new", name.display())))
            .or_unusable()?;
        let written = match self.format() {
            ExportFormat::Hf => staged.path().to_owned(),
            ExportFormat::Gguf => staged.path().join(name),
        };
        let marks = marks(source, tokenizer).or_unusable()?;
        self.write(source, &marks, tokenizer.is_some(), &written)?;
        let copy = TextModel::open(&written, &OpenOptions::default(), device)
            .context("reading the export back")?;
        let fidelity = match self.dtype {
            TensorType::Plain(Dtype::F32) => Fidelity::Exact,
            _ => Fidelity::Rounded,
        };
        let pairs = prompts(source, &copy, &marks)?;
        let (from, to) = (&source.model, &copy.model);
        let receipt = Receipt::compare(from, to, &pairs, fidelity, GREEDY_TOKENS, device)?;
        drop(copy);
        if receipt.passed {
            let path = match self.format() {
                ExportFormat::Hf => written.join(RECEIPT),
                ExportFormat::Gguf => receipt_beside(&written),
            };
            let text = serde_json::to_string_pretty(&self.describe(source, &written, &receipt)?)?;
            fs::write(&path, text + "\n").with_context(|| path.display().to_string())?;
            self.publish(staged, &written)?;
        }
        Ok(receipt)
    }

    /// A model that is being read can't be replaced.
    fn refuse_source(&self, source: &Path) -> Result<()> {
        let Ok(to) = fs::canonicalize(&self.to) else {
            return Ok(());
        };
        let source = fs::canonicalize(source)?;
        if source.starts_with(&to) || to.starts_with(&source) {
            bail!(
                "{}: is the model that is read; give another --to",
                self.to.display()
            );
        }
        Ok(())
    }

    fn write(
        &self,
        source: &TextModel,
        marks: &TextMarks,
        has_other_tokenizer: bool,
        path: &Path,
    ) -> Result<(), Failure> {
        let (tokenizer, template) = (&source.tokenizer, source.template.as_ref());
        let config = source.model.config();
        let written = match (self.format(), self.dtype) {
            (ExportFormat::Gguf, dtype) => {
                let metadata = tokenizer.to_gguf(marks, config.vocab_size);
                let mut metadata = metadata.or_unusable()?;
                if let Some(template) = template {
                    template.to_gguf(&mut metadata);
                }
                save_gguf(path, &source.model, dtype, metadata).map(drop)
            }
            (ExportFormat::Hf, TensorType::Plain(dtype)) => {
                if has_text_files(&source.path) && !has_other_tokenizer {
                    copy_text_files(&source.path, path)?;
                } else {
                    let length = config.max_seq_len;
                    save_text_files(path, tokenizer, marks, template, length)?;
                }
                let options = SaveOptions {
                    dtype,
                    begin: marks.bos,
                    ends: marks.eos.into_iter().chain(marks.eot).collect(),
                };
                save_model_with(path, &source.model, &options)
            }
            (ExportFormat::Hf, _) => unreachable!("`check` refuses blocks in a folder"),
        };
        match written {
            Err(error @ ModelError::Format(_)) => Err(error.into()),
            other => other.or_unusable(),
        }
    }

    /// The receipt as it is stored.
    fn describe(&self, source: &TextModel, written: &Path, receipt: &Receipt) -> Result<Value> {
        let mut size_bytes = 0;
        match self.format() {
            ExportFormat::Gguf => size_bytes = fs::metadata(written)?.len(),
            ExportFormat::Hf => {
                for entry in fs::read_dir(written)? {
                    size_bytes += entry?.metadata()?.len();
                }
            }
        }
        let mut json = json!({
            "schema": 1,
            "kind": "export",
            "sinterlm": env!("CARGO_PKG_VERSION"),
            "source": source.path,
            "format": self.format().to_possible_value().map(|value| value.get_name().to_owned()),
            "dtype": self.dtype.to_string(),
            "size_bytes": size_bytes,
            "has_chat_template": source.template.is_some(),
        });
        let figures = serde_json::to_value(receipt)?;
        let both = json.as_object_mut().zip(figures.as_object());
        let (json_map, figures) = both.expect("both are objects");
        json_map.extend(figures.clone());
        Ok(json)
    }

    /// Moves what was written into place.
    fn publish(&self, staged: StagedDir, written: &Path) -> Result<()> {
        let to = &self.to;
        let moved = |error| format!("{}: {error}", to.display());
        if self.format() == ExportFormat::Gguf {
            // The file first: without it an old receipt would speak of nothing.
            for (from, to) in [
                (written.to_owned(), to.clone()),
                (receipt_beside(written), receipt_beside(to)),
            ] {
                fs::rename(from, to).with_context(|| moved("cannot be moved into place"))?;
            }
            return Ok(());
        }
        let new = to.with_file_name(format!(
            "{}.new",
            to.file_name()
                .expect("`export` took a name from it")
                .display()
        ));
        staged.commit()?;
        if to.exists() {
            fs::remove_dir_all(to).with_context(|| moved("the earlier export stays"))?;
        }
        fs::rename(&new, to).with_context(|| moved("cannot be moved into place"))
    }
}

/// What begins and ends texts of a model.
fn marks(source: &TextModel, other_tokenizer: Option<&Path>) -> Result<TextMarks> {
    let (path, tokenizer) = (&source.path, &source.tokenizer);
    if path.is_dir() {
        let folder = match other_tokenizer {
            Some(other) if other.is_dir() => other,
            Some(other) => other.parent().unwrap_or(path),
            None => path,
        };
        return Ok(TextMarks::from_folder(
            folder,
            tokenizer,
            &read_end_ids(path)?,
        )?);
    }
    if other_tokenizer.is_none()
        && let WeightFile::Gguf(file) = WeightFile::open(path)?
    {
        return Ok(TextMarks::from_gguf(&file)?);
    }
    // As the tokenizer does it: what comes before a text, if anything, begins it.
    let (plain, whole) = (tokenizer.encode("a"), tokenizer.encode_with_template("a"));
    let begin = whole
        .first()
        .copied()
        .filter(|_| whole.ends_with(&plain) && whole.len() > plain.len());
    Ok(TextMarks {
        bos: begin,
        eos: Some(tokenizer.end_of_text()),
        add_bos: begin.is_some(),
        ..TextMarks::default()
    })
}

/// `FILE.receipt.json`.
fn receipt_beside(file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().display();
    file.with_file_name(format!("{name}.{RECEIPT}"))
}

/// The built-in prompts by both tokenizers, and a conversation by both templates.
fn prompts(source: &TextModel, copy: &TextModel, marks: &TextMarks) -> Result<Vec<PromptPair>> {
    let mut pairs: Vec<PromptPair> = RECEIPT_PROMPTS
        .into_iter()
        .map(|text| PromptPair {
            text: text.to_owned(),
            source_ids: source.prompt(text),
            copy_ids: copy.prompt(text),
        })
        .collect();
    let messages = [
        ("user", "Hi! Who are you?"),
        ("assistant", "A model."),
        ("user", "And?"),
    ];
    let messages = messages.map(|(role, text)| ChatMessage::new(role, text));
    // Some templates take one question only, or nothing without a system's message.
    for messages in [&messages[..], &messages[..1]] {
        let Ok(source_ids) = conversation(source, messages, marks) else {
            continue;
        };
        if !source_ids.is_empty() {
            pairs.push(PromptPair {
                text: "a conversation by the chat template".to_owned(),
                source_ids,
                copy_ids: conversation(copy, messages, marks)?,
            });
        }
        break;
    }
    Ok(pairs)
}

/// The ids of a conversation, none for a model without a template.
fn conversation(
    weights: &TextModel,
    messages: &[ChatMessage],
    marks: &TextMarks,
) -> Result<Vec<u32>, DataError> {
    let Some(template) = &weights.template else {
        return Ok(Vec::new());
    };
    let mut template = template.clone().with_date(0);
    // A folder of ours names no marks; what is written from it does.
    for (name, id) in [("bos_token", marks.bos), ("eos_token", marks.eos)] {
        let known = template.variables.contains_key(name);
        if let Some(id) = id.filter(|_| !known) {
            let text = weights.tokenizer.decode(&[id]).into();
            template.variables.insert(name.to_owned(), text);
        }
    }
    template.ids(messages, true, &weights.tokenizer)
}
