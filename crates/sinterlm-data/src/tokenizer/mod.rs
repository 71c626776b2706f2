//! The tokenizer every other part uses: a thin layer over crate `tokenizers` that keeps user text
//! apart from special tokens. Reading files, GPT-2's tables, other programs' formats, training and
//! streaming have files of their own.

mod added;
mod beside;
mod charsmap;
mod gguf;
mod gpt2;
mod held;
mod made;
mod marks;
mod open;
mod pre;
mod sentencepiece;
mod stream;
mod tables;
mod train;
mod vocabulary;
mod words;

pub use marks::TextMarks;
pub use open::tokenizer_of;
pub use stream::TextStream;

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, LazyLock, OnceLock};

use sinterlm_formats::{GgufFile, GgufMetadata};
use tokenizers::{
    Encoding, Model, OffsetType, PreTokenizedString, PreTokenizer, Tokenizer as Inner,
};

use self::added::{Added, Specials};
use self::words::{Tokens, Words};
use crate::DataError;
use crate::digest::sha256_hex;

/// The tokenizer of a folder.
const TOKENIZER: &str = "tokenizer.json";

/// The mark that ends every document, as GPT-2 spells it.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// Text to token ids and back. Cheap to clone; safe to share between threads.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
    added: Arc<Added>,
    /// None where text can only be encoded as a whole.
    words: Option<Arc<Words>>,
    vocab_size: usize,
    end_of_text: u32,
    /// The token with the first of the usual names that the vocabulary holds.
    usual_end: Option<u32>,
    /// Special tokens, the longest first.
    specials: Vec<(String, u32)>,
    /// Whether something, as a space, is put before a whole text.
    adds_to_texts: bool,
    /// Made when first asked for: it takes as long as reading the tokenizer.
    fingerprint: Arc<OnceLock<String>>,
}

impl Tokenizer {
    /// GPT-2's tokenizer (Radford et al. 2019): 50,257 tokens, end of text 50,256. Built in.
    pub fn gpt2() -> Self {
        static GPT2: LazyLock<Tokenizer> = LazyLock::new(|| {
            Tokenizer::from_json(&gpt2::tokenizer_json(), Path::new("gpt2"))
                .expect("the built-in tables form a whole tokenizer, as a test shows")
        });
        GPT2.clone()
    }

    /// Reads a Hugging Face `tokenizer.json`, the tokenizer of a GGUF file, llama2.c's `tokenizer.bin`
    /// (known by its extension), or that of a folder: `tokenizer.json`, else one made of `vocab.json`
    /// and `merges.txt`.
    ///
    /// Tokens that only the files beside a `tokenizer.json` name (`tokenizer_config.json`,
    /// `special_tokens_map.json`, `added_tokens.json`) are added, as `transformers` adds them, as far as
    /// the vocabulary of a `config.json` beside them reaches.
    ///
    /// The end-of-text token is the one that `tokenizer_config.json`, `special_tokens_map.json` or
    /// `config.json` beside a `tokenizer.json` name, else the one with a usual name. Truncation and
    /// padding saved in a `tokenizer.json` are switched off: they would silently lose text.
    ///
    /// # Errors
    /// [`DataError::Io`] where the file cannot be read, [`DataError::Tokenizer`] where it is no
    /// tokenizer, gives two tokens one id, cannot encode unknown characters, has no end-of-text token or
    /// is to split special tokens; as [`from_gguf`](Self::from_gguf).
    pub fn from_file(path: &Path) -> Result<Self, DataError> {
        open::from_file(path)
    }

    /// The tokenizer in the metadata of a GGUF file: byte-level BPE (`gpt2`) or SentencePiece's BPE
    /// (`llama`), with llama.cpp's meaning of the keys.
    ///
    /// [`encode_with_template`](Self::encode_with_template) puts the marks around a text that the
    /// file asks for.
    ///
    /// # Errors
    /// [`DataError::Format`] for keys that are missing or of another type, [`DataError::Tokenizer`]
    /// for other kinds of tokenizers, an unknown `tokenizer.ggml.pre` and lists that do not fit
    /// together.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, DataError> {
        gguf::read(file)
    }

    /// The metadata that makes this the tokenizer of a GGUF file; a chat template is not among it,
    /// see [`ChatTemplate::to_gguf`](crate::ChatTemplate::to_gguf).
    ///
    /// `vocab_size` is the number of rows of the model's embedding: llama.cpp wants a token for each.
    ///
    /// # Errors
    /// [`DataError::TokenizerExport`] for a tokenizer that llama.cpp has no form of: other models
    /// than BPE, other pre-tokenizers, merges that no scores can express.
    pub fn to_gguf(&self, marks: &TextMarks, vocab_size: usize) -> Result<GgufMetadata, DataError> {
        let metadata = gguf::write(self, marks, vocab_size);
        metadata.map_err(|reason| DataError::TokenizerExport { reason })
    }

    /// Trains a byte-level BPE (Sennrich et al. 2016, with GPT-2's pre-tokenizer) on `documents`.
    ///
    /// Id 0 is `<|endoftext|>`, 1 to 256 are the bytes, then the merges in order. Pairs of equal
    /// count are merged in the order of their ids, so the result depends on the text alone: not
    /// on the order of the documents and not on the number of threads.
    ///
    /// # Errors
    /// [`DataError::VocabularyTooLarge`] where the text has too few distinct pairs.
    ///
    /// # Example
    /// ```
    /// let tokenizer = sinterlm_data::Tokenizer::train_bpe(["a cat and a cap"], 260)?;
    /// assert_eq!((tokenizer.vocab_size(), tokenizer.end_of_text()), (260, 0));
    /// assert_eq!(tokenizer.decode(&tokenizer.encode("a hat")), "a hat");
    /// # Ok::<(), sinterlm_data::DataError>(())
    /// ```
    pub fn train_bpe<I>(documents: I, vocab_size: usize) -> Result<Self, DataError>
    where
        I: IntoIterator<IntoIter: Send>,
        I::Item: AsRef<str> + Send,
    {
        train::train(documents.into_iter(), vocab_size)
    }

    /// As [`from_file`](Self::from_file), from the content of a `tokenizer.json` alone; `path` only
    /// names it in errors.
    pub fn from_json(json: &str, path: &Path) -> Result<Self, DataError> {
        made::from_json(json, path, None)
    }

    /// The ids of ordinary text. No text can produce a special token: `<|endoftext|>` in it is
    /// encoded as the characters it consists of.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.ids(text, Specials::AsText)
    }

    /// The ids of ordinary text with the special tokens that the tokenizer's own template puts
    /// around a text, such as a mark of its beginning.
    pub fn encode_with_template(&self, text: &str) -> Vec<u32> {
        let encoding = self.encoding(text, Specials::AsText, OffsetType::None, true, None);
        encoding.get_ids().to_vec()
    }

    /// What the tokenizer's own template puts before a text: a mark of its beginning, or nothing.
    pub fn beginning(&self) -> Vec<u32> {
        let (text, mut whole) = (self.encode("a"), self.encode_with_template("a"));
        let start = whole
            .windows(text.len().max(1))
            .position(|ids| *ids == text);
        whole.truncate(start.unwrap_or(0));
        whole
    }

    /// The ids of trusted text, in which special tokens are recognised, as crate `tokenizers` does:
    /// of two that match at one place the longer counts, and a token may take the spaces beside it.
    /// Never use it on text from users or data sets.
    pub fn encode_with_special(&self, text: &str) -> Vec<u32> {
        self.ids(text, Specials::Everywhere)
    }

    /// As [`encode_with_special`](Self::encode_with_special), but within the `ordinary` byte ranges
    /// of `text`, ascending and apart, special tokens are characters like others. Returns each id
    /// with the byte at which its token starts.
    pub(crate) fn encode_with_special_outside(
        &self,
        text: &str,
        ordinary: &[Range<usize>],
    ) -> Vec<(u32, usize)> {
        let specials = Specials::Outside(ordinary);
        let mut tokens = Vec::with_capacity(text.len() / 4 + 1);
        let mut last = 0;
        if self.by_words(text, specials, |id, start| {
            last = start.max(last); // tokens that want the same spaces overlap
            tokens.push((id, last));
        }) {
            return tokens;
        }
        let encoding = self.encoding(text, specials, OffsetType::Byte, false, None);
        let starts = encoding.get_offsets().iter().scan(0, |last, (start, _)| {
            *last = (*start).max(*last);
            Some(*last)
        });
        encoding.get_ids().iter().copied().zip(starts).collect()
    }

    /// As [`encode_with_special_outside`](Self::encode_with_special_outside), for a text that stands
    /// behind others, the last token of which is `before`: no token reaches over the border, and
    /// spaces that a tokenizer puts before a whole text are not put before this one.
    pub(crate) fn encode_behind(
        &self,
        before: Option<u32>,
        text: &str,
        ordinary: &[Range<usize>],
    ) -> Vec<(u32, usize)> {
        if !self.adds_to_texts {
            return self.encode_with_special_outside(text, ordinary);
        }
        // A special token or a line's end stands for what is before.
        let mark = before.and_then(|id| self.special_name(id));
        let lead = mark.unwrap_or("\n");
        let whole = [lead, text].concat();
        let ordinary: Vec<Range<usize>> = ordinary
            .iter()
            .map(|range| range.start + lead.len()..range.end + lead.len())
            .collect();
        let cut = mark.is_none().then_some(lead.len());
        let specials = Specials::Outside(&ordinary);
        let encoding = self.encoding(&whole, specials, OffsetType::Byte, false, cut);
        let starts = encoding.get_offsets().iter().scan(0, |last, (start, _)| {
            *last = (*start).max(*last);
            Some(*last)
        });
        let tokens = encoding.get_ids().iter().copied().zip(starts);
        let own = tokens.filter(|(_, start)| *start >= lead.len());
        own.map(|(id, start)| (id, start - lead.len())).collect()
    }

    /// The ids of [`encode_behind`](Self::encode_behind), faster.
    pub(crate) fn ids_behind(
        &self,
        before: Option<u32>,
        text: &str,
        ordinary: &[Range<usize>],
    ) -> Vec<u32> {
        if self.adds_to_texts && before.is_some() {
            let tokens = self.encode_behind(before, text, ordinary);
            return tokens.into_iter().map(|(id, _)| id).collect();
        }
        self.ids(text, Specials::Outside(ordinary))
    }

    fn ids(&self, text: &str, specials: Specials<'_>) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 4 + 1);
        if self.by_words(text, specials, |id, _| ids.push(id)) {
            return ids;
        }
        let encoding = self.encoding(text, specials, OffsetType::None, false, None);
        encoding.get_ids().to_vec()
    }

    /// Hands over the tokens of a text, each with the byte at which it starts; false, and none, where the
    /// text has to be encoded as a whole.
    fn by_words(&self, text: &str, specials: Specials<'_>, each: impl FnMut(u32, usize)) -> bool {
        let Some(words) = self.words.as_ref().filter(|words| words.fit(text)) else {
            return false;
        };
        let places = self.added.places(text, specials);
        words.tokens(text, places, |part| self.tokens_of(part), each);
        true
    }

    /// The tokens of a part of a text that no added token is in.
    fn tokens_of(&self, part: &str) -> Tokens {
        let encoding = || -> tokenizers::Result<_> {
            let mut pieces = PreTokenizedString::from(part);
            if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
                pre_tokenizer.pre_tokenize(&mut pieces)?;
            }
            self.merged(pieces, OffsetType::Byte, false)
        };
        let encoding = encoding().expect("unknown characters were probed, as for whole texts");
        let starts = encoding.get_offsets().iter();
        let starts = starts.map(|(start, _)| *start as u32);
        encoding.get_ids().iter().copied().zip(starts).collect()
    }

    /// Whether a text that stands alone has other tokens than behind a line's end.
    fn finds_additions(&self) -> bool {
        let alone = self.encode("a");
        let behind = self.encoding("\na", Specials::AsText, OffsetType::Byte, false, Some(1));
        let starts = behind.get_offsets().iter().map(|(start, _)| *start);
        let own = behind
            .get_ids()
            .iter()
            .zip(starts)
            .filter(|(_, at)| *at > 0);
        !own.map(|(id, _)| id).eq(&alone)
    }

    /// The tokens of a text as a whole, which are cut at a byte: some pre-tokenizers treat its beginning in another way.
    fn encoding(
        &self,
        text: &str,
        specials: Specials<'_>,
        offsets: OffsetType,
        with_template: bool,
        cut: Option<usize>,
    ) -> Encoding {
        self.try_encoding(text, specials, offsets, with_template, cut)
            .expect("unknown characters were probed when the tokenizer was made")
    }

    fn try_encoding(
        &self,
        text: &str,
        specials: Specials<'_>,
        offsets: OffsetType,
        with_template: bool,
        cut: Option<usize>,
    ) -> tokenizers::Result<Encoding> {
        let (inner, normalizer) = (&self.inner, self.inner.get_normalizer());
        let mut pieces = self.added.extract(text, normalizer, specials)?;
        if let Some(at) = cut {
            pieces.split(|_, piece| Ok(added::cut_at(piece, at)))?;
        }
        if let Some(pre_tokenizer) = inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        self.merged(pieces, offsets, with_template)
    }

    /// The tokens of pieces that a text was cut into.
    fn merged(
        &self,
        mut pieces: PreTokenizedString,
        offsets: OffsetType,
        with_template: bool,
    ) -> tokenizers::Result<Encoding> {
        pieces.tokenize(|piece| self.inner.get_model().tokenize(piece.get()))?;
        let encoding = pieces.into_encoding(None, 0, offsets)?;
        self.inner.post_process(encoding, None, with_template)
    }

    /// Whether `id` is a special token: a mark such as the end of a text, and no part of it.
    pub fn is_special(&self, id: u32) -> bool {
        self.specials.iter().any(|(_, special)| *special == id)
    }

    /// The id of a special token, by its name.
    pub fn special(&self, name: &str) -> Option<u32> {
        let found = self.specials.iter().find(|(content, _)| content == name);
        found.map(|(_, id)| *id)
    }

    /// The name of a special token, by its id.
    pub(crate) fn special_name(&self, id: u32) -> Option<&str> {
        let found = self.specials.iter().find(|(_, special)| *special == id);
        found.map(|(content, _)| content.as_str())
    }

    /// The names of special tokens as a text has them, the longest first: also as a normalizer would
    /// change them.
    pub(crate) fn special_names_in(&self, text: &str) -> Vec<String> {
        let own = self.special_names().filter(|name| text.contains(name));
        let mut names: Vec<String> = own.map(str::to_owned).collect();
        names.extend(self.added.spellings(text, self.inner.get_normalizer()));
        names.retain(|name| !name.is_empty());
        names.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        names.dedup();
        names
    }

    /// Names of the special tokens, the longest first.
    pub(crate) fn special_names(&self) -> impl Iterator<Item = &str> {
        self.specials.iter().map(|(content, _)| content.as_str())
    }

    /// The text of `ids`, special tokens by their names. Bytes that form no character become
    /// U+FFFD, ids outside the vocabulary nothing. For text as it grows see [`TextStream`].
    pub fn decode(&self, ids: &[u32]) -> String {
        self.inner
            .decode(ids, false)
            .expect("decoding was probed when the tokenizer was made")
    }

    /// One more than the largest id, so that every id indexes an embedding of this many rows.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The token that stands before the first document and after each one.
    pub fn end_of_text(&self) -> u32 {
        self.end_of_text
    }

    /// The tokens at which a text ends: [`end_of_text`](Self::end_of_text), and the one that has a
    /// usual name for it, where that is another one.
    pub fn ends(&self) -> Vec<u32> {
        let other = |id: &u32| *id != self.end_of_text && self.is_special(*id);
        let usual = self.usual_end.filter(other);
        std::iter::once(self.end_of_text).chain(usual).collect()
    }

    /// SHA-256, in hex, of [`to_json`](Self::to_json), and of the end of text where the JSON does not
    /// say it: equal for tokenizers that behave alike.
    pub fn fingerprint(&self) -> &str {
        self.fingerprint.get_or_init(|| {
            let mut text = self.to_json();
            if self.usual_end != Some(self.end_of_text) {
                text.push_str("\nend of text ");
                text.push_str(&self.end_of_text.to_string());
            }
            sha256_hex(text.as_bytes())
        })
    }

    /// The `tokenizer.json` on one line; the same tokenizer always gives the same text.
    pub fn to_json(&self) -> String {
        self.inner
            .to_string(false)
            .expect("a tokenizer has no parts but those that were read")
    }

    /// Writes a Hugging Face `tokenizer.json`, whole or not at all; beside it, where the end of text
    /// is not the token with a usual name, a `special_tokens_map.json` that names it.
    ///
    /// # Errors
    /// [`DataError::Format`] where a file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), DataError> {
        let write = |path: &Path, text: &str| {
            sinterlm_formats::write_file_atomic(path, |out| out.write_all(text.as_bytes()))
        };
        if self.usual_end != Some(self.end_of_text) {
            let name = self.decode(&[self.end_of_text]);
            let map = serde_json::json!({ "eos_token": name });
            write(&path.with_file_name(beside::MAP), &format!("{map:#}\n"))?;
        }
        write(path, &self.to_json())?;
        Ok(())
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size)
            .field("end_of_text", &self.end_of_text)
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

fn fault(path: &Path, reason: impl Into<String>, remedy: &'static str) -> DataError {
    DataError::Tokenizer {
        path: path.to_owned(),
        reason: reason.into(),
        remedy,
    }
}
