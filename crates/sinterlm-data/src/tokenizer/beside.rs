//! What the files of a folder say of its tokens: `tokenizer_config.json`, `special_tokens_map.json` and
//! `added_tokens.json`, read as `transformers` reads them beside a `tokenizer.json`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use sinterlm_formats::refuse_lfs_pointer;
use tokenizers::{AddedToken, Tokenizer as Inner};

use super::fault;
use crate::source::without_nan;
use crate::{DataError, Json};

/// What a folder says about its tokenizer.
pub(super) const CONFIG: &str = "tokenizer_config.json";
/// The names of the marks, in older folders and beside tokenizers of ours.
pub(super) const MAP: &str = "special_tokens_map.json";
/// Ids of further tokens, in older folders.
const ADDED: &str = "added_tokens.json";
/// The model's description, which names marks by their ids.
const MODEL: &str = "config.json";
/// The marks that have names of their own.
const MARKS: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];
const NO_JSON: &str = "mend the file or take it out of the folder";
const SPLITS: &str = "set it to false, or take it out of the file";
const NO_TOKEN: &str = "write each as {\"ID\": {\"content\": \"NAME\", \"special\": true}}";

/// The files of a folder that name tokens.
#[derive(Debug)]
pub(super) struct FolderMarks {
    folder: PathBuf,
    config: Json,
    map: Json,
    added: Json,
    model: Json,
}

/// A token that a file names, and its id where the file says it.
#[derive(Debug)]
struct Named {
    token: AddedToken,
    id: Option<u32>,
    /// The file's flags count, also where `tokenizer.json` has others.
    rules: bool,
    /// It is special, also where `tokenizer.json` says otherwise.
    is_mark: bool,
}

impl FolderMarks {
    pub(super) fn read(folder: &Path) -> Result<Self, DataError> {
        let is_object = |json: &Json| matches!(json, Json::Map(_));
        let read = |name: &str| read_json(&folder.join(name), is_object);
        Ok(Self {
            folder: folder.to_owned(),
            config: read(CONFIG)?,
            map: read(MAP)?,
            added: read(ADDED)?,
            model: read(MODEL)?,
        })
    }

    /// `tokenizer_config.json`, null where there is none.
    pub(super) fn config(&self) -> &Json {
        &self.config
    }

    /// `config.json`, null where there is none.
    pub(super) fn model(&self) -> &Json {
        &self.model
    }

    /// `tokenizer_config.json` where it says which tokens were added.
    fn decoder(&self) -> Option<&Json> {
        let decoder = self.config.get("added_tokens_decoder");
        decoder.filter(|decoder| **decoder != Json::Null)
    }

    /// The files that name marks, the one that counts first. The older one does, unless the newer
    /// one says which tokens were added.
    fn files(&self) -> [&Json; 2] {
        match self.decoder() {
            Some(_) => [&self.config, &self.map],
            None => [&self.map, &self.config],
        }
    }

    /// The texts that a mark such as `eos_token` has, the one that counts first.
    pub(super) fn texts(&self, mark: &str) -> impl Iterator<Item = &str> {
        let entries = self.files().map(|file| file.get(mark));
        entries.into_iter().flatten().filter_map(content)
    }

    /// The token of a mark, the first that the vocabulary holds.
    pub(super) fn named(&self, mark: &str, inner: &Inner) -> Option<u32> {
        self.texts(mark).find_map(|text| inner.token_to_id(text))
    }

    /// The token that ends a text: by its name, else by the id in the model's description, where that
    /// is a special token's.
    pub(super) fn end(&self, inner: &Inner) -> Option<u32> {
        if let Some(named) = self.named("eos_token", inner) {
            return Some(named);
        }
        let first = match self.model.get("eos_token_id")? {
            Json::Null => return None,
            Json::List(ids) => ids.first()?,
            id => id,
        };
        let id = match first {
            Json::Int(id) => u32::try_from(*id).ok(),
            _ => None,
        };
        let Some(id) = id.filter(|id| inner.id_to_token(*id).is_some()) else {
            let path = self.folder.join(MODEL);
            let id = serde_json::to_string(first).unwrap_or_default();
            tracing::warn!(
                "{}: eos_token_id: {id} is no token of the tokenizer beside it; the token with a usual name ends texts",
                path.display()
            );
            return None;
        };
        let added = inner.get_added_vocabulary().get_added_tokens_decoder();
        let is_special = added.get(&id).is_some_and(|token| token.special);
        is_special.then_some(id)
    }

    /// Adds the tokens that only these files name to those of a `tokenizer.json`, and takes their flags.
    ///
    /// A token without an id gets the one that its text has in the vocabulary, else the next free
    /// one. What would be beyond the model's vocabulary stays text, with a warning.
    ///
    /// # Errors
    /// Where `tokenizer_config.json` asks that special tokens be split, or its entries can't be read.
    pub(super) fn complete(
        &self,
        tokens: &mut Vec<(AddedToken, u32)>,
        inner: &Inner,
    ) -> Result<(), DataError> {
        let splits = self.config.get("split_special_tokens");
        if splits.is_some_and(|value| !matches!(value, Json::Null | Json::Bool(false))) {
            let reason = "has `split_special_tokens` set, with which no text has special tokens, not even a chat template's";
            return Err(fault(&self.folder.join(CONFIG), reason, SPLITS));
        }
        let rows = match self.model.get("vocab_size") {
            Some(Json::Int(rows)) => usize::try_from(*rows).ok(),
            _ => None,
        };
        // A description that doesn't tell its vocabulary leaves no room that is known of.
        let room = rows.or((self.model != Json::Null).then_some(0));
        let texts = tokens.iter().map(|(token, _)| token.content.clone());
        let mut places: HashMap<String, usize> = texts.zip(0..).collect();
        let mut left_out = Vec::new();
        for named in self.all()? {
            let Named { token, id, .. } = &named;
            let text = token.content.as_str();
            if let Some(at) = places.get(text) {
                let (present, own) = &mut tokens[*at];
                if let Some(id) = id.filter(|id| id != &*own) {
                    let reason =
                        format!("gives the token {text:?} the id {id}, and tokenizer.json {own}");
                    return Err(self.fault_of_ids(reason));
                }
                if named.rules {
                    *present = token.clone();
                }
                present.special |= named.is_mark;
                continue;
            }
            let in_model = id.or_else(|| inner.token_to_id(text));
            let fits = |id: u32, rows: Option<usize>| rows.is_none_or(|rows| (id as usize) < rows);
            let next = || {
                let listed = tokens.iter().map(|(_, id)| *id).max();
                let largest = inner.get_vocab(false).into_values().max().max(listed);
                largest.map_or(0, |id| id + 1)
            };
            let id = match in_model {
                Some(id) => Some(id).filter(|id| fits(*id, rows)),
                None => Some(next()).filter(|id| fits(*id, room)),
            };
            match id {
                Some(id) => {
                    places.insert(text.to_owned(), tokens.len());
                    tokens.push((token.clone(), id));
                }
                None => left_out.push(text.to_owned()),
            }
        }
        if !left_out.is_empty() {
            let folder = self.folder.display();
            tracing::warn!(
                "{folder}: the tokens {left_out:?} are named beside tokenizer.json and have no id in the model's vocabulary; they are read as text"
            );
        }
        Ok(())
    }

    /// A fault of ids that these files give.
    pub(super) fn fault_of_ids(&self, reason: String) -> DataError {
        let (name, remedy) = match self.decoder() {
            Some(_) => (CONFIG, "correct its `added_tokens_decoder`"),
            None => (ADDED, "correct it, or take it out of the folder"),
        };
        fault(&self.folder.join(name), reason, remedy)
    }

    /// All tokens that these files name, in the order in which they get ids.
    fn all(&self) -> Result<Vec<Named>, DataError> {
        let mut all = Vec::new();
        let marks = self.marks();
        let further = self.further();
        if let Some(decoder) = self.decoder() {
            let path = self.folder.join(CONFIG);
            let refuse = || {
                let reason = "has an `added_tokens_decoder` that is no map from ids to tokens";
                fault(&path, reason, NO_TOKEN)
            };
            let Json::Map(entries) = decoder else {
                return Err(refuse());
            };
            for (id, entry) in entries.iter() {
                let id = id.trim().parse().map_err(|_| refuse())?;
                let has_flags = matches!(entry, Json::Map(_));
                let token = token(entry, false).filter(|_| has_flags);
                all.push(Named {
                    token: token.ok_or_else(refuse)?,
                    id: Some(id),
                    rules: true,
                    is_mark: false,
                });
            }
            all.sort_by_key(|named| named.id);
        } else if let Json::Map(entries) = &self.added {
            for (text, id) in entries.iter() {
                let Json::Int(id) = id else { continue };
                let mut names = marks.iter().chain(&further);
                let is_named = names.any(|token| token.content == text);
                all.push(Named {
                    token: AddedToken::from(text, is_named),
                    id: u32::try_from(*id).ok(),
                    rules: false,
                    is_mark: false,
                });
            }
            all.sort_by_key(|named| named.id);
        }
        let named = |is_mark: bool| {
            move |token| Named {
                token,
                id: None,
                rules: false,
                is_mark,
            }
        };
        all.extend(marks.into_iter().map(named(true)));
        all.extend(further.into_iter().map(named(false)));
        Ok(all)
    }

    /// The marks: those with names of their own, then what else a key ending in `_token` or a map of
    /// further special tokens names.
    fn marks(&self) -> Vec<AddedToken> {
        let files = self.tellers();
        let first = |key: &str| files.iter().find_map(|file| file.get(key));
        let own = MARKS.iter().filter_map(|mark| first(mark));
        let mut found: Vec<AddedToken> = own.filter_map(|entry| token(entry, true)).collect();
        for (at, file) in files.iter().enumerate() {
            let Json::Map(entries) = file else { continue };
            let is_new = |key: &str| files[..at].iter().all(|other| other.get(key).is_none());
            let others = entries
                .iter()
                .filter(|(key, _)| key.ends_with("_token") && !MARKS.contains(key) && is_new(key));
            found.extend(others.filter_map(|(_, entry)| token(entry, true)));
            if let Some(Json::Map(further)) = file.get("extra_special_tokens") {
                found.extend(further.iter().filter_map(|(_, entry)| token(entry, true)));
            }
        }
        found.into_iter().map(|mark| mark.special(true)).collect()
    }

    /// The files whose names become tokens, the one that counts first.
    fn tellers(&self) -> Vec<&Json> {
        let [first, second] = self.files();
        match self.decoder() {
            Some(_) => vec![first],
            None => vec![first, second],
        }
    }

    /// The lists of further special tokens; of both names the newer one counts.
    fn further(&self) -> Vec<AddedToken> {
        let list = |key: &str| {
            let mut files = self.tellers().into_iter().rev();
            files.find_map(move |file| match file.get(key) {
                Some(Json::List(entries)) if !entries.is_empty() => Some(entries),
                _ => None,
            })
        };
        let entries = list("extra_special_tokens").or_else(|| list("additional_special_tokens"));
        let entries = entries.into_iter().flatten();
        entries.filter_map(|entry| token(entry, true)).collect()
    }
}

/// The text of a token, which stands alone or with its flags.
fn content(entry: &Json) -> Option<&str> {
    entry.get("content").unwrap_or(entry).as_str()
}

/// A token with its flags; those that are not given are as in Python's `AddedToken`.
fn token(entry: &Json, special: bool) -> Option<AddedToken> {
    let text = content(entry).filter(|text| !text.is_empty())?;
    let flag = |name: &str| match entry.get(name) {
        Some(Json::Bool(value)) => Some(*value),
        _ => None,
    };
    let token = AddedToken::from(text, flag("special").unwrap_or(special));
    let normalized = flag("normalized").unwrap_or(token.normalized);
    Some(
        token
            .normalized(normalized)
            .single_word(flag("single_word").unwrap_or(false))
            .lstrip(flag("lstrip").unwrap_or(false))
            .rstrip(flag("rstrip").unwrap_or(false)),
    )
}

/// A file's content, null where there is no such file. What Python writes in place of numbers that
/// JSON does not have counts as null.
pub(super) fn read_json<T: DeserializeOwned + Default>(
    path: &Path,
    is_object: impl Fn(&T) -> bool,
) -> Result<T, DataError> {
    if !path.is_file() {
        return Ok(T::default());
    }
    let text = std::fs::read_to_string(path).map_err(|source| DataError::Io {
        path: path.to_owned(),
        action: "read the tokenizer's marks",
        source,
    })?;
    refuse_lfs_pointer(path, text.as_bytes())?;
    let json = serde_json::from_str(&text).or_else(|_| serde_json::from_str(&without_nan(&text)));
    match json {
        Ok(object) if is_object(&object) => Ok(object),
        Ok(_) => Err(fault(path, "is no JSON object", NO_JSON)),
        Err(e) => Err(fault(path, format!("is no JSON ({e})"), NO_JSON)),
    }
}
