//! Which tokens begin and end texts, as model folders and GGUF files say it.

use std::path::Path;

use sinterlm_formats::{GgufFile, GgufMetadata, TensorSource};

use super::beside::{CONFIG, FolderMarks, MAP};
use super::pre::Cut;
use super::{TOKENIZER, Tokenizer, fault};
use crate::DataError;

/// The remedy for what is not known here.
pub(super) const OTHER_KIND: &str = "name the model's tokenizer.json as its tokenizer";

/// The tokens that mark texts, and which of them are put around a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextMarks {
    /// Begins a text.
    pub bos: Option<u32>,
    /// Ends a text, or an answer.
    pub eos: Option<u32>,
    /// Ends a turn of a conversation, where that is another one than `eos`.
    pub eot: Option<u32>,
    /// Stands for text that no token spells.
    pub unknown: Option<u32>,
    /// Fills up batches.
    pub padding: Option<u32>,
    /// Whether `bos` is put before a text that is read.
    pub add_bos: bool,
    /// Whether `eos` is put behind a text that is read.
    pub add_eos: bool,
}

impl TextMarks {
    /// What our own training does: the end of the text before begins each text.
    pub fn of_training(tokenizer: &Tokenizer) -> Self {
        Self {
            bos: Some(tokenizer.end_of_text()),
            eos: Some(tokenizer.end_of_text()),
            add_bos: true,
            ..Self::default()
        }
    }

    /// What the tokenizer does by itself, where nothing else tells: what it puts before a text, if
    /// anything, begins one.
    pub fn of_tokenizer(tokenizer: &Tokenizer) -> Self {
        let bos = tokenizer.beginning().first().copied();
        Self {
            bos,
            eos: Some(tokenizer.end_of_text()),
            add_bos: bos.is_some(),
            ..Self::default()
        }
    }

    /// Whether a model folder says what stands around a text, as published ones do: by
    /// `tokenizer_config.json` or `special_tokens_map.json`, by a tokenizer that puts something there, or
    /// by one made of `vocab.json` and `merges.txt`, whose kind puts nothing there. Folders that
    /// training wrote, checkpoints and `model` beside a `run.json`, do not: whatever their tokenizer does
    /// elsewhere, each text began behind the end of another one.
    pub fn are_named(folder: &Path, tokenizer: &Tokenizer) -> bool {
        let is_file = |name: &str| folder.join(name).is_file();
        if is_file("manifest.json") || is_file("../run.json") {
            return is_file(CONFIG);
        }
        is_file(CONFIG)
            || is_file(MAP)
            || (!is_file(TOKENIZER) && is_file("vocab.json"))
            || tokenizer.encode_with_template("a").len() > tokenizer.encode("a").len()
    }

    /// The marks of a model folder: named by `tokenizer_config.json` and `special_tokens_map.json`, of
    /// which the latter counts unless the former has `added_tokens_decoder`, and put around a text as its
    /// tokenizer does;
    /// [`of_training`](Self::of_training) where they are not [named](Self::are_named).
    ///
    /// `ends` are the ids that end a text by the model's own description, which count where neither
    /// file names one; one more of them than `eos` becomes `eot`.
    ///
    /// # Errors
    /// [`DataError::Io`] and [`DataError::Tokenizer`] where the file is there and unusable.
    pub fn from_folder(
        folder: &Path,
        tokenizer: &Tokenizer,
        ends: &[u32],
    ) -> Result<Self, DataError> {
        if !Self::are_named(folder, tokenizer) {
            return Ok(Self::of_training(tokenizer));
        }
        let marks = FolderMarks::read(folder)?;
        let named = |name: &str| marks.named(name, &tokenizer.inner);
        let eos = named("eos_token").or(ends.first().copied());
        let (plain, whole) = (tokenizer.encode("a"), tokenizer.encode_with_template("a"));
        let added = whole.len() > plain.len();
        // What the tokenizer puts before a text begins it, whether or not a file calls it so.
        let before = whole
            .first()
            .filter(|id| added && plain.first() != Some(*id));
        let bos = named("bos_token").or(before.copied());
        Ok(Self {
            bos,
            eos,
            eot: ends.iter().copied().find(|id| Some(*id) != eos),
            unknown: named("unk_token"),
            padding: named("pad_token"),
            add_bos: added && bos.is_some() && whole.first() == bos.as_ref(),
            add_eos: added && eos.is_some() && whole.last() == eos.as_ref(),
        })
    }

    /// The marks of a GGUF file, with llama.cpp's defaults for what it does not say.
    ///
    /// # Errors
    /// [`DataError::Format`] for a value of another type, [`DataError::Tokenizer`] for an unknown
    /// `tokenizer.ggml.pre`.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, DataError> {
        let key = |name: &str| file.field(&format!("tokenizer.ggml.{name}"));
        let text = |name: &str| key(name).map(|field| field.text()).transpose();
        let flag = |name: &str| key(name).map(|field| field.flag()).transpose();
        let id = |name: &str| -> Result<Option<u32>, DataError> {
            let Some(field) = key(&format!("{name}_token_id")) else {
                return Ok(None);
            };
            // Some writers say "none" by a number that is no id.
            Ok(u32::try_from(field.uint()?)
                .ok()
                .filter(|id| *id < u32::MAX))
        };
        let pieces = text("model")? == Some("llama");
        let default = |id: u32| pieces.then_some(id);
        let adds_bos = match text("pre")? {
            Some(name) if !pieces => {
                let cut = Cut::named(name).map_err(|reason| fault(file.path(), reason, OTHER_KIND));
                cut?.adds_bos
            }
            _ => pieces,
        };
        let (bos, eos) = (id("bos")?.or(default(1)), id("eos")?.or(default(2)));
        let turn = id("eot")?.or(id("eom")?);
        Ok(Self {
            bos,
            eos,
            eot: turn.filter(|id| Some(*id) != eos),
            unknown: id("unknown")?.or(default(0)),
            padding: id("padding")?,
            add_bos: bos.is_some() && flag("add_bos_token")?.unwrap_or(adds_bos),
            add_eos: eos.is_some() && flag("add_eos_token")?.unwrap_or(false),
        })
    }

    /// Adds the marks to the metadata of a GGUF file.
    pub(super) fn write(&self, metadata: &mut GgufMetadata) {
        let ids = [
            ("bos", self.bos),
            ("eos", self.eos),
            ("eot", self.eot),
            ("unknown", self.unknown),
            ("padding", self.padding),
        ];
        for (name, id) in ids {
            if let Some(id) = id {
                metadata.insert(format!("tokenizer.ggml.{name}_token_id"), id.into());
            }
        }
        for (name, added) in [("bos", self.add_bos), ("eos", self.add_eos)] {
            metadata.insert(format!("tokenizer.ggml.add_{name}_token"), added.into());
        }
    }
}
