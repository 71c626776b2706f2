//! A list of tokens with what each is for, as GGUF files hold it.

use std::collections::HashMap;

use serde_json::json;
use tokenizers::models::bpe::Vocab;
use tokenizers::{AddedToken, PostProcessorWrapper, Tokenizer as Inner};

use super::marks::TextMarks;

/// What a token is for; the numbers are those of `tokenizer.ggml.token_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A part of text, made by merging.
    Normal = 1,
    /// What stands for text that no token spells.
    Unknown = 2,
    /// A mark that no text can spell.
    Control = 3,
    /// Found in text before anything is merged.
    UserDefined = 4,
    /// A row of the embedding without a use.
    Unused = 5,
    /// A single byte, where no piece spells a character.
    Byte = 6,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Normal,
        Self::Unknown,
        Self::Control,
        Self::UserDefined,
        Self::Unused,
        Self::Byte,
    ];

    pub(super) fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as i64 == number)
    }
}

/// Tokens in the order of their ids; no two have the same text.
#[derive(Debug)]
pub(super) struct Vocabulary {
    texts: Vec<String>,
    kinds: Vec<Kind>,
}

impl Vocabulary {
    /// As many kinds as texts are needed.
    pub(super) fn new(texts: Vec<String>, kinds: Vec<Kind>) -> Result<Self, String> {
        let mut first: HashMap<&str, usize> = HashMap::with_capacity(texts.len());
        for (id, text) in texts.iter().enumerate() {
            if let Some(other) = first.insert(text, id) {
                return Err(format!("has the token {text:?} twice, as {other} and {id}"));
            }
        }
        if kinds.len() != texts.len() || u32::try_from(texts.len()).is_err() {
            let (kinds, texts) = (kinds.len(), texts.len());
            return Err(format!("has {kinds} token types for {texts} tokens"));
        }
        Ok(Self { texts, kinds })
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// Id, text and kind of each token.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u32, &str, Kind)> {
        let entries = self.texts.iter().zip(&self.kinds).enumerate();
        entries.map(|(id, (text, kind))| (id as u32, text.as_str(), *kind))
    }

    /// The id of each text.
    pub(super) fn ids(&self) -> Vocab {
        let entries = self.entries();
        entries.map(|(id, text, _)| (text.to_owned(), id)).collect()
    }

    /// Texts and numbers of the kinds, as they are written.
    pub(super) fn into_parts(self) -> (Vec<String>, Vec<i32>) {
        let numbers = self.kinds.iter().map(|kind| *kind as i32).collect();
        (self.texts, numbers)
    }

    /// Lets a tokenizer with this vocabulary find the tokens that are not made by merging, and puts
    /// `marks` around texts.
    pub(super) fn finish(&self, inner: &mut Inner, marks: &TextMarks) {
        let of = |wanted: Kind, special: bool| -> Vec<AddedToken> {
            let found = self
                .entries()
                .filter(|(_, text, kind)| *kind == wanted && !text.is_empty());
            found
                .map(|(_, text, _)| AddedToken::from(text, special).normalized(false))
                .collect()
        };
        inner.add_special_tokens(&of(Kind::Control, true));
        inner.add_special_tokens(&of(Kind::Unknown, true));
        inner.add_tokens(&of(Kind::UserDefined, false));
        let mark = |id: Option<u32>, wanted: bool| {
            let id = id.filter(|_| wanted)?;
            Some((self.texts.get(id as usize)?, id))
        };
        let begin = mark(marks.bos, marks.add_bos);
        let end = mark(marks.eos, marks.add_eos);
        if begin.is_none() && end.is_none() {
            return;
        }
        let special =
            |(text, _): &(&String, u32)| json!({ "SpecialToken": { "id": text, "type_id": 0 } });
        let sequence = |name: &str| json!({ "Sequence": { "id": name, "type_id": 0 } });
        let around = |names: &[&str]| -> Vec<_> {
            let texts = names.iter().flat_map(|name| {
                let parts = [
                    begin.as_ref().map(special),
                    Some(sequence(name)),
                    end.as_ref().map(special),
                ];
                parts.into_iter().flatten()
            });
            texts.collect()
        };
        let known: serde_json::Map<_, _> = begin
            .iter()
            .chain(&end)
            .map(|(text, id)| {
                (
                    (*text).clone(),
                    json!({ "id": text, "ids": [id], "tokens": [text] }),
                )
            })
            .collect();
        let template = json!({ "type": "TemplateProcessing", "single": around(&["A"]),
                               "pair": around(&["A", "B"]), "special_tokens": known });
        let template: PostProcessorWrapper =
            serde_json::from_value(template).expect("its special tokens are named in it");
        inner.with_post_processor(Some(template));
    }
}
