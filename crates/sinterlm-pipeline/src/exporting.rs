//! Writing a model for other programs: written beside its place, read back, held against its source,
//! and moved into place only if it is the same model.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sinterlm_data::{
    Body, ChatMessage, DataError, TextMarks, copy_text_files, has_text_files, save_text_files,
};
use sinterlm_eval::{Comparison, Fidelity, PromptPair, RECEIPT_PROMPTS, Receipt};
use sinterlm_formats::{Dtype, StagedDir, TensorType, WeightFile};
use sinterlm_model::{ModelError, SaveOptions, read_end_ids, save_gguf, save_model_with};
use sinterlm_text::{OpenOptions, TextError, TextModel};

use crate::error::PipelineError;
use crate::export_place::{RECEIPT, Taken, resolved};

/// Tokens that each prompt is continued by.
const GREEDY_TOKENS: usize = 32;

/// What a model is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// A folder for `transformers` and what reads its layout.
    Hf,
    /// A file for llama.cpp.
    Gguf,
}

/// Where a model goes, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Destination {
    /// Folder or file to write.
    pub to: PathBuf,
    /// What it is; by the ending of its name where absent.
    pub format: Option<ExportFormat>,
    /// How numbers are stored; blocks are for a GGUF alone.
    pub dtype: TensorType,
    /// Replace an earlier export.
    pub force: bool,
}

impl ExportFormat {
    /// Its name in a receipt.
    fn name(self) -> &'static str {
        match self {
            Self::Hf => "hf",
            Self::Gguf => "gguf",
        }
    }
}

impl Destination {
    /// A folder, or a GGUF where the name ends so, with numbers in f32; nothing is replaced.
    pub fn new(to: impl Into<PathBuf>) -> Self {
        Self {
            to: to.into(),
            format: None,
            dtype: Dtype::F32.into(),
            force: false,
        }
    }

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
    pub fn check(&self) -> Result<(), PipelineError> {
        if self.format() == ExportFormat::Hf && matches!(self.dtype, TensorType::Blocks(_)) {
            let dtype = self.dtype.to_string().to_lowercase();
            return Err(PipelineError::Destination {
                what: format!("--dtype {dtype}"),
                fault: "only a GGUF has such blocks; add --format gguf".to_owned(),
            });
        }
        if self.to.file_name().is_none() {
            return Err(PipelineError::Destination {
                what: "--to".to_owned(),
                fault: "names no file".to_owned(),
            });
        }
        self.refuse_taken()
    }

    /// Refuses a place where anything is that an earlier export did not leave, and an earlier export
    /// that is not to be replaced.
    fn refuse_taken(&self) -> Result<(), PipelineError> {
        let taken = match self.format() {
            ExportFormat::Hf => Taken::by_folder(&self.to),
            ExportFormat::Gguf => Taken::by_file(&self.to, &receipt_beside(&self.to)),
        };
        let unusable =
            |error| self.refused(&format!("cannot be looked at ({error}); give another --to"));
        match taken.map_err(unusable)? {
            Taken::No => Ok(()),
            Taken::ByExport if self.force => Ok(()),
            _ if !self.force => {
                let fault = "is there already; give another --to, or --force to replace an export";
                Err(self.refused(fault))
            }
            Taken::ByExport | Taken::ByOther => Err(self.refused(
                "is no earlier export, and --force replaces nothing else; give another --to",
            )),
            Taken::BesideStranger(path) => Err(PipelineError::Destination {
                what: path.display().to_string(),
                fault: "is none of the files that an export writes, and --force would remove it; \
                        move it away, or give another --to"
                    .to_owned(),
            }),
        }
    }

    fn refused(&self, fault: &str) -> PipelineError {
        PipelineError::Destination {
            what: self.to.display().to_string(),
            fault: fault.to_owned(),
        }
    }

    fn file_error(&self, action: &'static str) -> impl Fn(std::io::Error) -> PipelineError {
        let path = self.to.clone();
        move |source| PipelineError::File {
            path: path.clone(),
            action,
            source,
        }
    }

    /// A model that is being read can't be replaced, and nothing is put into its folder or its run's.
    fn refuse_source(&self, source: &Path) -> Result<(), PipelineError> {
        let (to, source) = (resolved(&self.to), resolved(source));
        let is_there = fs::symlink_metadata(&self.to).is_ok();
        // Weights of a run lie in `model` or in `checkpoints/step-N`.
        let run = source.ancestors().skip(1).take(2);
        let run = run.filter(|folder| source.is_dir() && folder.join("run.json").is_file());
        let read = std::iter::once(source.as_path())
            .chain(run)
            .any(|read| to.starts_with(read));
        if read || (is_there && source.starts_with(&to)) {
            return Err(self.refused("is the model that is read, or lies in it; give another --to"));
        }
        Ok(())
    }

    fn write(
        &self,
        source: &TextModel,
        marks: &TextMarks,
        has_other_tokenizer: bool,
        path: &Path,
    ) -> Result<(), PipelineError> {
        let (tokenizer, template) = (&source.tokenizer, source.template.as_ref());
        let config = source.model.config();
        let written = match (self.format(), self.dtype) {
            (ExportFormat::Gguf, dtype) => {
                let mut metadata = tokenizer.to_gguf(marks, config.vocab_size)?;
                if let Some(template) = template {
                    template.to_gguf(&mut metadata);
                }
                save_gguf(path, &source.model, dtype, metadata).map(drop)
            }
            (ExportFormat::Hf, TensorType::Plain(dtype)) => {
                let copied = if has_text_files(&source.path) && !has_other_tokenizer {
                    copy_text_files(&source.path, path)
                } else {
                    let length = config.max_seq_len;
                    save_text_files(path, tokenizer, marks, template, length)
                };
                copied.map_err(PipelineError::WriteText)?;
                if let Some(form) = &source.form {
                    form.save(path).map_err(PipelineError::WriteText)?;
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
            Err(error @ ModelError::Format(_)) => Err(PipelineError::WriteModel(error)),
            other => Ok(other?),
        }
    }

    /// The receipt as it is stored.
    fn describe(
        &self,
        source: &TextModel,
        written: &Path,
        receipt: &Receipt,
    ) -> Result<Value, PipelineError> {
        let size_bytes = match self.format() {
            ExportFormat::Gguf => fs::metadata(written).map(|file| file.len()),
            ExportFormat::Hf => size_of_folder(written),
        };
        let size_bytes = size_bytes.map_err(self.file_error("the copy cannot be read"))?;
        let mut json = json!({
            "schema": 1,
            "kind": "export",
            "sinterlm": env!("CARGO_PKG_VERSION"),
            "source": source.path.to_string_lossy(),
            "format": self.format().name(),
            "dtype": self.dtype.to_string(),
            "size_bytes": size_bytes,
            "has_chat_template": source.template.is_some(),
        });
        if let Some(form) = &source.form {
            json["prompt_template"] = serde_json::to_value(form).expect("a form is plain data");
        }
        let figures = serde_json::to_value(receipt).expect("a receipt is plain data");
        let both = json.as_object_mut().zip(figures.as_object());
        let (json_map, figures) = both.expect("both are objects");
        json_map.extend(figures.clone());
        Ok(json)
    }

    /// Moves what was written into place.
    fn publish(&self, staged: StagedDir, written: &Path) -> Result<(), PipelineError> {
        // Files may have come there in the meantime.
        self.refuse_taken()?;
        let to = &self.to;
        let unmoved = self.file_error("cannot be moved into place");
        if self.format() == ExportFormat::Gguf {
            // The file first: without it an old receipt would speak of nothing.
            for (from, to) in [
                (written.to_owned(), to.clone()),
                (receipt_beside(written), receipt_beside(to)),
            ] {
                fs::rename(from, to).map_err(&unmoved)?;
            }
            return Ok(());
        }
        let new = beside(to, ".new");
        staged.commit()?;
        if to.exists() {
            fs::remove_dir_all(to).map_err(self.file_error("the earlier export stays"))?;
        }
        fs::rename(&new, to).map_err(unmoved)
    }
}

/// Writes `source` for other programs, reads the copy back, compares, and moves it into place; returns
/// its receipt, also of a copy that is another model, which is then removed. `tokenizer` is the other
/// tokenizer that the source was opened with, if any.
///
/// # Errors
/// For a destination that is taken, models and tokenizers that the format has no form of, and a place
/// inside the source; then for files that cannot be written.
///
/// # Example
/// ```no_run
/// use std::path::Path;
///
/// use burn::tensor::Device;
/// use sinterlm_formats::BlockType;
/// use sinterlm_pipeline::{Destination, Host, export, open_model};
/// use sinterlm_text::OpenOptions;
///
/// let host = Host::new(Device::flex(), "flex");
/// let model = open_model(Path::new("runs/first"), &OpenOptions::default(), &host)?;
/// let mut to = Destination::new("first.gguf");
/// to.dtype = BlockType::Q8_0.into();
/// let receipt = export(&model, None, &to)?;
/// assert!(receipt.passed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn export(
    source: &TextModel,
    tokenizer: Option<&Path>,
    destination: &Destination,
) -> Result<Receipt, PipelineError> {
    destination.check()?;
    destination.refuse_source(&source.path)?;
    source.chat_template()?;
    let (to, device) = (&destination.to, &source.device);
    let name = to
        .file_name()
        .expect("`check` refuses a path without a name");
    // A folder beside the place: renaming within one file system is one step.
    let staged = StagedDir::create(beside(to, ".new")).map_err(PipelineError::Unwritable)?;
    let is_gguf = destination.format() == ExportFormat::Gguf;
    let written = match destination.format() {
        ExportFormat::Hf => staged.path().to_owned(),
        ExportFormat::Gguf => staged.path().join(name),
    };
    let marks = marks(source, tokenizer)?;
    destination.write(source, &marks, tokenizer.is_some(), &written)?;
    let copy = TextModel::open(&written, &OpenOptions::default(), device);
    let copy = copy.map_err(|error| match error {
        TextError::Data(error) if is_gguf => no_gguf_form(format!("read back, {error}")),
        other => PipelineError::ReadBack(other),
    })?;
    let fidelity = match destination.dtype {
        TensorType::Plain(Dtype::F32) => Fidelity::Exact,
        _ => Fidelity::Rounded,
    };
    let pairs = prompts(source, &copy, &marks).map_err(|e| PipelineError::ReadBack(e.into()))?;
    let differs = |pair: &&PromptPair| pair.source_ids != pair.copy_ids;
    if is_gguf && let Some(pair) = pairs.iter().find(differs) {
        let text = &pair.text;
        return Err(no_gguf_form(format!(
            "{text:?} has other ids when it is read back"
        )));
    }
    let (from, to) = (&source.model, &copy.model);
    let by = Comparison {
        prompts: &pairs,
        fidelity,
        greedy_tokens: GREEDY_TOKENS,
    };
    let receipt = Receipt::compare(from, to, &by, device).map_err(PipelineError::Compare)?;
    drop(copy);
    if receipt.passed {
        let path = match destination.format() {
            ExportFormat::Hf => written.join(RECEIPT),
            ExportFormat::Gguf => receipt_beside(&written),
        };
        let described = destination.describe(source, &written, &receipt)?;
        fs::write(&path, format!("{described:#}\n"))
            .map_err(destination.file_error("its receipt cannot be written"))?;
        destination.publish(staged, &written)?;
    }
    Ok(receipt)
}

/// A tokenizer that a GGUF file does not say as it is.
fn no_gguf_form(reason: String) -> PipelineError {
    DataError::TokenizerExport { reason }.into()
}

fn size_of_folder(folder: &Path) -> std::io::Result<u64> {
    fs::read_dir(folder)?
        .map(|entry| Ok(entry?.metadata()?.len()))
        .sum()
}

/// What begins and ends texts of a model.
fn marks(source: &TextModel, other_tokenizer: Option<&Path>) -> Result<TextMarks, TextError> {
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
    Ok(TextMarks::of_tokenizer(tokenizer))
}

/// `FILE.receipt.json`.
fn receipt_beside(file: &Path) -> PathBuf {
    beside(file, &format!(".{RECEIPT}"))
}

/// A path whose name goes on with `ending`, whatever bytes it has.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

/// The built-in prompts by both tokenizers, a conversation by both templates, and an instruction by both
/// forms.
fn prompts(
    source: &TextModel,
    copy: &TextModel,
    marks: &TextMarks,
) -> Result<Vec<PromptPair>, DataError> {
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
    // A GGUF has no place for a form.
    if source.form.is_some() && copy.path.is_dir() {
        let asked = Body::Instruction {
            instruction: "Which is larger?".to_owned(),
            input: "7, 12".to_owned(),
            output: String::new(),
        };
        pairs.push(PromptPair {
            text: "an instruction in the model's form".to_owned(),
            source_ids: source.ask(&asked)?,
            copy_ids: copy.ask(&asked)?,
        });
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
