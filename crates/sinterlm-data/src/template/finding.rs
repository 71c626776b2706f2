//! Where chat templates are found: in model folders of Hugging Face and in GGUF files, with the names
//! of the tokens that they write.

use std::path::Path;

use sinterlm_formats::{GgufFile, GgufMetadata, TensorSource, refuse_lfs_pointer};

use super::{ChatTemplate, Json};
use crate::source::without_nan;
use crate::{DataError, TextMarks};

/// The template's key in the metadata of a GGUF file.
const GGUF_KEY: &str = "tokenizer.chat_template";

/// The tokens that `transformers` tells a template.
const MARKS: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// Further special tokens, by the older and the newer name of the list; a map gives each a name.
const MORE_MARKS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];

impl ChatTemplate {
    /// The template of a model folder: `chat_template.jinja`, else the entry `chat_template` of
    /// `tokenizer_config.json`; of several the one named `default`. None where there is no template.
    ///
    /// It sees the special tokens that `tokenizer_config.json` names: `bos_token`, `cls_token`,
    /// `additional_special_tokens` and the like. The older `special_tokens_map.json` names tokens, too,
    /// and its names hold, unless `tokenizer_config.json` has the entry `added_tokens_decoder`: that
    /// is how `transformers` reads both.
    ///
    /// # Errors
    /// [`DataError::Io`] and [`DataError::Template`] where a file is there and unusable, and where there
    /// are several templates of which none is the default.
    pub fn from_folder(folder: &Path) -> Result<Option<Self>, DataError> {
        let path = folder.join("tokenizer_config.json");
        let config = read_json(&path)?;
        let own = folder.join("chat_template.jinja");
        let (name, source) = match read(&own)? {
            Some(source) => (own, source),
            None => match default_template(&path, &config)? {
                Some(source) => (path, source),
                None => return Ok(None),
            },
        };
        let mut template = Self::new(&name.display().to_string(), &source)?;
        // A folder that says which tokens were added is read without the older file.
        if config.get("added_tokens_decoder").is_none() {
            template.add_marks(&read_json(&folder.join("special_tokens_map.json"))?);
        }
        template.add_marks(&config);
        Ok(Some(template))
    }

    /// Tells the template the special tokens of a file, unless it knows them.
    fn add_marks(&mut self, config: &Json) {
        let Json::Map(config) = config else {
            return;
        };
        for (name, entry) in config.iter() {
            if MORE_MARKS.contains(&name) {
                self.add_more_marks(entry);
            } else if let Some(token) = token_of(entry)
                && (MARKS.contains(&name) || name.ends_with("_token"))
            {
                self.add_variable(name, token.into());
            }
        }
    }

    fn add_more_marks(&mut self, entry: &Json) {
        match entry {
            // Models that read images give their tokens names: `{"image_token": "<image>"}`.
            Json::Map(named) => {
                for (name, entry) in named.iter() {
                    if let Some(token) = token_of(entry) {
                        self.add_variable(name, token.into());
                    }
                }
            }
            Json::List(tokens) => {
                let tokens = tokens.iter().filter_map(token_of);
                let tokens = tokens.map(Json::from).collect();
                self.add_variable(MORE_MARKS[0], Json::List(tokens));
            }
            _ => {}
        }
    }

    fn add_variable(&mut self, name: &str, value: Json) {
        let entry = self.variables.entry(name.to_owned());
        entry.or_insert(value);
    }

    /// The template in the metadata of a GGUF file, with the names of that file's marks; none where
    /// it has none.
    ///
    /// # Errors
    /// [`DataError::Format`] for a value of another type, [`DataError::Template`] where it is no
    /// Jinja template.
    pub fn from_gguf(file: &GgufFile) -> Result<Option<Self>, DataError> {
        let Some(field) = file.field(GGUF_KEY) else {
            return Ok(None);
        };
        let mut template = Self::new(&file.path().display().to_string(), field.text()?)?;
        let Some(tokens) = file.field("tokenizer.ggml.tokens") else {
            return Ok(Some(template));
        };
        let tokens = tokens.texts()?;
        let marks = TextMarks::from_gguf(file)?;
        let id_of = |name: &str| -> Result<Option<u32>, DataError> {
            let field = file.field(&format!("tokenizer.ggml.{name}_token_id"));
            let id = field.map(|field| field.uint()).transpose()?;
            Ok(id.and_then(|id| u32::try_from(id).ok()))
        };
        for (mark, id) in [
            ("bos_token", marks.bos),
            ("eos_token", marks.eos),
            ("pad_token", marks.padding),
            ("unk_token", marks.unknown),
            // The misspelling is llama.cpp's.
            ("sep_token", id_of("seperator")?),
            ("cls_token", id_of("cls")?),
            ("mask_token", id_of("mask")?),
        ] {
            if let Some(text) = id.and_then(|id| tokens.get(id as usize)) {
                template.add_variable(mark, text.as_str().into());
            }
        }
        Ok(Some(template))
    }

    /// Adds the template to the metadata of a GGUF file.
    pub fn to_gguf(&self, metadata: &mut GgufMetadata) {
        metadata.insert(GGUF_KEY.to_owned(), self.source.as_str().into());
    }
}

/// The text of a special token, which stands alone or with its properties.
fn token_of(entry: &Json) -> Option<&str> {
    entry.get("content").unwrap_or(entry).as_str()
}

/// The template of a file's entry `chat_template`, or of several named ones the default.
fn default_template(path: &Path, config: &Json) -> Result<Option<String>, DataError> {
    let entry = config.get("chat_template").unwrap_or(&Json::Null);
    let (names, found) = match entry {
        Json::Null => return Ok(None),
        Json::Text(source) => return Ok(Some(source.clone())),
        Json::List(named) => {
            let name = |entry: &Json| entry.get("name").and_then(Json::as_str).map(str::to_owned);
            let mut all = named.iter();
            let found = all.find(|entry| name(entry).as_deref() == Some("default"));
            let names: Vec<String> = named.iter().filter_map(name).collect();
            (names, found.and_then(|entry| entry.get("template")))
        }
        Json::Map(named) => {
            let names: Vec<String> = named.iter().map(|(name, _)| name.to_owned()).collect();
            (names, named.get("default"))
        }
        _ => (Vec::new(), None),
    };
    let found = found.and_then(Json::as_str);
    let missing = || DataError::Template {
        name: path.display().to_string(),
        line: 0,
        fault: format!(
            "chat_template has no template named default among {names:?}; write one of them as `default`"
        ),
    };
    found
        .map(|source| Some(source.to_owned()))
        .ok_or_else(missing)
}

/// A file's JSON, null where there is no such file.
fn read_json(path: &Path) -> Result<Json, DataError> {
    let Some(text) = read(path)? else {
        return Ok(Json::Null);
    };
    let fault = |line: usize, fault: String| DataError::Template {
        name: path.display().to_string(),
        line,
        fault,
    };
    let json = serde_json::from_str(&text).or_else(|_| serde_json::from_str(&without_nan(&text)));
    match json {
        Ok(object @ Json::Map(_)) => Ok(object),
        Ok(_) => Err(fault(1, "is no JSON object".into())),
        Err(e) => Err(fault(e.line(), e.to_string())),
    }
}

/// A file's text, none where there is no such file.
fn read(path: &Path) -> Result<Option<String>, DataError> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            refuse_lfs_pointer(path, text.as_bytes())?;
            Ok(Some(text))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataError::Io {
            path: path.to_owned(),
            action: "read the chat template",
            source,
        }),
    }
}
