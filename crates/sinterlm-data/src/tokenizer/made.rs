//! Tokenizers of their parts: the ids that a `tokenizer.json` gives to its added tokens, and which token
//! ends a text.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::{
    AddedToken, AddedVocabulary, Model, ModelWrapper, OffsetType, Token, Tokenizer as Inner,
};

use super::added::{Added, Specials};
use super::beside::FolderMarks;
use super::words::Words;
use super::{END_OF_TEXT, Tokenizer, charsmap, fault};
use crate::DataError;

/// Names of the end-of-text token, the first that a vocabulary holds counts.
const END_NAMES: [&str; 7] = [
    END_OF_TEXT,
    "<|end_of_text|>",
    "</s>",
    "<eos>",
    "<|im_end|>",
    "[EOS]",
    "<｜end▁of▁sentence｜>",
];
/// Unusual text that a usable tokenizer encodes and decodes without an error.
const PROBE: &str = "a\u{0}\t\n  \u{7f}é中\u{1f600}\u{fffd}\u{10ffff}<|endoftext|>";
/// No vocabulary is larger; a larger id would only make an embedding that no memory holds.
const MAX_TOKENS: u32 = 1 << 24;

const NO_JSON: &str = "give a tokenizer.json as Hugging Face's `tokenizers` writes it";
const NO_UNKNOWN: &str =
    "give one that has its unknown token in the vocabulary, or one made of bytes";
const NO_END: &str = "name one as `eos_token` in a tokenizer_config.json beside it, or give a tokenizer that has an end-of-text token";
const OTHER_IDS: &str =
    "correct its `added_tokens`, or give the tokenizer that the model was trained with";

/// An entry of `added_tokens`.
#[derive(Deserialize)]
struct Entry {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

/// A `tokenizer.json`, with what the files beside it name.
pub(super) fn from_json(
    json: &str,
    path: &Path,
    marks: Option<&FolderMarks>,
) -> Result<Tokenizer, DataError> {
    #[derive(Deserialize)]
    struct Listed {
        #[serde(default)]
        added_tokens: Vec<Entry>,
        #[serde(default)]
        normalizer: Value,
        #[serde(default, rename = "decoder")]
        _decoder: Value,
    }
    let no_json =
        |e: &dyn std::fmt::Display| fault(path, format!("is no tokenizer ({e})"), NO_JSON);
    // First, as the library panics on a normalizer or decoder that it cannot read.
    let listed: Listed = serde_json::from_str(json).map_err(|e| no_json(&e))?;
    charsmap::check(&listed.normalizer).map_err(|e| no_json(&e))?;
    let mut inner: Inner = json.parse().map_err(|e| no_json(&e))?;
    let mut tokens = Vec::with_capacity(listed.added_tokens.len());
    let mut known = HashMap::new();
    for Entry { id, token } in listed.added_tokens {
        // The same entry twice does no harm.
        let is_new = known.insert(token.clone(), id) != Some(id);
        if is_new && !token.content.is_empty() {
            tokens.push((token, id));
        }
    }
    check_ids(&tokens, &inner).map_err(|reason| fault(path, reason, OTHER_IDS))?;
    if let Some(marks) = marks {
        marks.complete(&mut tokens, &inner)?;
        check_ids(&tokens, &inner).map_err(|reason| marks.fault_of_ids(reason))?;
    }
    keep_tokens(&tokens, &mut inner);
    let end = marks.and_then(|marks| marks.end(&inner));
    wrap(inner, Some(tokens), end, path, NO_END)
}

/// Each id for one token, each token with one id.
fn check_ids(tokens: &[(AddedToken, u32)], inner: &Inner) -> Result<(), String> {
    let model = inner.get_model();
    let (mut by_id, mut by_text) = (HashMap::new(), HashMap::new());
    for (token, id) in tokens {
        let text = token.content.as_str();
        if *id >= MAX_TOKENS {
            return Err(format!(
                "gives the added token {text:?} the id {id}, which no vocabulary has"
            ));
        }
        if let Some(other) = model.token_to_id(text).filter(|other| other != id) {
            return Err(format!(
                "gives the added token {text:?} the id {id}, and {other} in its vocabulary"
            ));
        }
        let in_model = model.id_to_token(*id).filter(|other| other != text);
        let listed = by_id.insert(*id, text).map(str::to_owned);
        if let Some(other) = in_model.or(listed) {
            return Err(format!("gives the id {id} to both {other:?} and {text:?}"));
        }
        if let Some(other) = by_text.insert(text, *id) {
            return Err(format!(
                "gives the added token {text:?} two ids, {other} and {id}"
            ));
        }
    }
    Ok(())
}

/// Puts these tokens in place of those that crate `tokenizers` read from a file, with ids counted up
/// where the file's leave gaps or are out of order.
fn keep_tokens(tokens: &[(AddedToken, u32)], inner: &mut Inner) {
    let own = inner.get_added_tokens_decoder();
    if tokens.iter().all(|(token, id)| own.get(id) == Some(token)) {
        return;
    }
    let ids = tokens
        .iter()
        .map(|(token, id)| (token.content.clone(), *id));
    let listed: Vec<AddedToken> = tokens.iter().map(|(token, _)| token.clone()).collect();
    let mut added = AddedVocabulary::new();
    added.add_tokens(&listed, &FileIds(ids.collect()), inner.get_normalizer());
    inner.with_added_vocabulary(added);
}

/// What an added vocabulary asks of a model: which ids texts have already.
struct FileIds(HashMap<String, u32>);

impl Model for FileIds {
    type Trainer = BpeTrainer;

    fn tokenize(&self, _: &str) -> tokenizers::Result<Vec<Token>> {
        Ok(Vec::new())
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.0.get(token).copied()
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        let found = self.0.iter().find(|(_, other)| **other == id);
        found.map(|(text, _)| text.clone())
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        self.0.clone()
    }

    fn get_vocab_size(&self) -> usize {
        self.0.len()
    }

    fn save(&self, _: &Path, _: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    fn get_trainer(&self) -> BpeTrainer {
        BpeTrainer::default()
    }
}

/// A tokenizer of its parts. `tokens` are the added ones in the order in which they count, by their ids
/// where it is not known. `end` ends a text, else the token with a usual name; `no_end` is the remedy
/// where there is neither.
pub(super) fn wrap(
    mut inner: Inner,
    tokens: Option<Vec<(AddedToken, u32)>>,
    end: Option<u32>,
    path: &Path,
    no_end: &'static str,
) -> Result<Tokenizer, DataError> {
    if let ModelWrapper::BPE(bpe) = inner.get_model() {
        // Random cuts of words are for training a model on; a text would have other ids each time.
        if bpe.dropout.is_some() {
            let mut bpe = bpe.clone();
            bpe.dropout = None;
            inner.with_model(bpe);
        }
    }
    inner
        .with_truncation(None)
        .map_err(|e| fault(path, format!("has unusable truncation ({e})"), NO_JSON))?
        .with_padding(None)
        .set_encode_special_tokens(true);
    let tokens = tokens.unwrap_or_else(|| {
        let listed = inner.get_added_tokens_decoder().into_iter();
        let mut tokens: Vec<_> = listed.map(|(id, token)| (token, id)).collect();
        tokens.sort_by_key(|(_, id)| *id);
        tokens
    });
    let added = Added::new(&tokens, inner.get_normalizer())
        .map_err(|reason| fault(path, reason, OTHER_IDS))?;
    let vocab = inner.get_vocab(true);
    let vocab_size = vocab.values().max().map_or(0, |&id| id as usize + 1);
    let usual_end = END_NAMES.iter().find_map(|name| vocab.get(*name).copied());
    let end_of_text = end.or(usual_end).ok_or_else(|| {
        let reason = format!("has none of the tokens {END_NAMES:?}");
        fault(path, reason, no_end)
    })?;
    let specials = tokens.into_iter().filter(|(token, _)| token.special);
    let mut specials: Vec<_> = specials.map(|(token, id)| (token.content, id)).collect();
    specials.sort_by_key(|(content, id)| (Reverse(content.len()), *id));
    let mut tokenizer = Tokenizer {
        words: Words::new(&inner).map(Arc::new),
        inner: Arc::new(inner),
        added: Arc::new(added),
        vocab_size,
        end_of_text,
        usual_end,
        specials,
        adds_to_texts: false,
        fingerprint: Arc::default(),
    };
    let probed = tokenizer
        .try_encoding(PROBE, Specials::AsText, OffsetType::None, false, None)
        .and_then(|encoding| tokenizer.inner.decode(encoding.get_ids(), false));
    match probed {
        Err(e) => {
            let reason = format!("cannot encode unknown characters ({e})");
            return Err(fault(path, reason, NO_UNKNOWN));
        }
        Ok(text) if text != PROBE => {
            tracing::warn!(path = %path.display(), "this tokenizer does not give every text back unchanged");
        }
        Ok(_) => {}
    }
    tokenizer.adds_to_texts = tokenizer.finds_additions();
    Ok(tokenizer)
}
