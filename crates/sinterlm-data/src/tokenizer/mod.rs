//! The tokenizer every other part uses: a thin layer over crate `tokenizers` that keeps user text
//! apart from special tokens. GPT-2's tables, other programs' formats, training and streaming have
//! files of their own.

mod gguf;
mod gpt2;
mod marks;
mod pre;
mod sentencepiece;
mod stream;
mod train;
mod vocabulary;

pub use marks::TextMarks;
pub use stream::TextStream;

use std::cmp::Reverse;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, LazyLock, OnceLock};

use sinterlm_formats::{GgufFile, GgufMetadata, refuse_lfs_pointer};

use crate::DataError;
use crate::digest::sha256_hex;

/// The mark that ends every document, as GPT-2 spells it.
pub const END_OF_TEXT: &str = "<|endoftext|>";

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

/// Text to token ids and back. Cheap to clone; safe to share between threads.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    vocab_size: usize,
    end_of_text: u32,
    /// Special tokens, the longest first.
    specials: Vec<(String, u32)>,
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

    /// Reads a Hugging Face `tokenizer.json`, the tokenizer of a GGUF file, or llama2.c's
    /// `tokenizer.bin` (known by its extension).
    ///
    /// Truncation and padding saved in a `tokenizer.json` are switched off: they would silently
    /// lose text.
    ///
    /// # Errors
    /// [`DataError::Io`] where the file cannot be read, [`DataError::Tokenizer`] where it is no
    /// tokenizer, cannot encode unknown characters or has no end-of-text token; as
    /// [`from_gguf`](Self::from_gguf).
    pub fn from_file(path: &Path) -> Result<Self, DataError> {
        let unreadable = |source| DataError::Io {
            path: path.to_owned(),
            action: "read the tokenizer",
            source,
        };
        let mut start = [0; 4];
        let read = File::open(path).and_then(|mut file| file.read(&mut start));
        read.map_err(unreadable)?;
        if start == *b"GGUF" {
            return Self::from_gguf(&GgufFile::open(path)?);
        }
        if path.extension().is_some_and(|extension| extension == "bin") {
            return sentencepiece::from_llama2c(path);
        }
        let json = std::fs::read_to_string(path).map_err(unreadable)?;
        refuse_lfs_pointer(path, json.as_bytes())?;
        Self::from_json(&json, path)
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

    /// As [`from_file`](Self::from_file), from the file's content; `path` only names it in errors.
    pub fn from_json(json: &str, path: &Path) -> Result<Self, DataError> {
        let inner: tokenizers::Tokenizer = json
            .parse()
            .map_err(|e| fault(path, format!("is no tokenizer ({e})")))?;
        Self::wrap(inner, path, None)
    }

    /// `end` ends a text where none of the usual names is known.
    fn wrap(
        mut inner: tokenizers::Tokenizer,
        path: &Path,
        end: Option<u32>,
    ) -> Result<Self, DataError> {
        inner
            .with_truncation(None)
            .map_err(|e| fault(path, format!("has unusable truncation ({e})")))?
            .with_padding(None)
            .set_encode_special_tokens(true);
        let vocab = inner.get_vocab(true);
        let vocab_size = vocab.values().max().map_or(0, |&id| id as usize + 1);
        let end_of_text = END_NAMES
            .iter()
            .find_map(|name| vocab.get(*name).copied())
            .or(end)
            .ok_or_else(|| fault(path, format!("has none of the tokens {END_NAMES:?}")))?;
        let mut specials: Vec<_> = inner
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(_, token)| token.special && !token.content.is_empty())
            .map(|(id, token)| (token.content, id))
            .collect();
        specials.sort_by_key(|(content, id)| (Reverse(content.len()), *id));
        let probed = inner
            .encode_fast(PROBE, false)
            .and_then(|e| inner.decode(e.get_ids(), false));
        match probed {
            Err(e) => {
                return Err(fault(
                    path,
                    format!("cannot encode unknown characters ({e})"),
                ));
            }
            Ok(text) if text != PROBE => {
                tracing::warn!(path = %path.display(), "this tokenizer does not give every text back unchanged");
            }
            Ok(_) => {}
        }
        Ok(Self {
            inner: Arc::new(inner),
            vocab_size,
            end_of_text,
            specials,
            fingerprint: Arc::default(),
        })
    }

    /// The ids of ordinary text. No text can produce a special token: `<|endoftext|>` in it is
    /// encoded as the characters it consists of.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.inner
            .encode_fast(text, false)
            .expect("unknown characters were probed when the tokenizer was made")
            .get_ids()
            .to_vec()
    }

    /// The ids of ordinary text with the special tokens that the tokenizer's own template puts
    /// around a text, such as a mark of its beginning.
    pub fn encode_with_template(&self, text: &str) -> Vec<u32> {
        self.inner
            .encode_fast(text, true)
            .expect("unknown characters were probed when the tokenizer was made")
            .get_ids()
            .to_vec()
    }

    /// The ids of trusted text, in which special tokens are recognised; of two that match at one
    /// place the longer counts. Never use it on text from users or data sets.
    pub fn encode_with_special(&self, text: &str) -> Vec<u32> {
        let tokens = self.encode_with_special_outside(text, &[]);
        tokens.into_iter().map(|(id, _)| id).collect()
    }

    /// As [`encode_with_special`](Self::encode_with_special), but within the `ordinary` byte ranges
    /// of `text`, ascending and apart, special tokens are characters like others. Returns each id
    /// with the byte at which its token starts.
    pub(crate) fn encode_with_special_outside(
        &self,
        text: &str,
        ordinary: &[Range<usize>],
    ) -> Vec<(u32, usize)> {
        let mut tokens = Vec::new();
        let (mut done, mut from) = (0, 0); // encoded up to here; searched up to here
        let next = |from: usize| {
            let found = self.specials.iter().filter_map(|(content, id)| {
                text[from..]
                    .find(content.as_str())
                    .map(|at| (from + at, Reverse(content.len()), *id))
            });
            found.min()
        };
        while let Some((at, Reverse(len), id)) = next(from) {
            let overlaps = |range: &&Range<usize>| range.start < at + len && at < range.end;
            if let Some(range) = ordinary.iter().find(overlaps) {
                from = range.end.max(at + 1);
                while !text.is_char_boundary(from) {
                    from += 1;
                }
                continue;
            }
            self.encode_at(&text[done..at], done, &mut tokens);
            tokens.push((id, at));
            (done, from) = (at + len, at + len);
        }
        self.encode_at(&text[done..], done, &mut tokens);
        tokens
    }

    /// Appends the ids of ordinary text that stands at byte `start` of a larger one.
    fn encode_at(&self, text: &str, start: usize, tokens: &mut Vec<(u32, usize)>) {
        let encoding = self.inner.encode(text, false);
        let encoding =
            encoding.expect("unknown characters were probed when the tokenizer was made");
        let starts = encoding.get_offsets().iter().map(|(at, _)| start + at);
        tokens.extend(encoding.get_ids().iter().copied().zip(starts));
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

    /// SHA-256, in hex, of [`to_json`](Self::to_json): equal for tokenizers that behave alike.
    pub fn fingerprint(&self) -> &str {
        self.fingerprint
            .get_or_init(|| sha256_hex(self.to_json().as_bytes()))
    }

    /// The `tokenizer.json` on one line; the same tokenizer always gives the same text.
    pub fn to_json(&self) -> String {
        self.inner
            .to_string(false)
            .expect("a tokenizer has no parts but those that were read")
    }

    /// Writes a Hugging Face `tokenizer.json`, whole or not at all.
    ///
    /// # Errors
    /// [`DataError::Format`] where the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), DataError> {
        let json = self.to_json();
        sinterlm_formats::write_file_atomic(path, |out| out.write_all(json.as_bytes()))?;
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

fn fault(path: &Path, reason: String) -> DataError {
    DataError::Tokenizer {
        path: path.to_owned(),
        reason,
    }
}
