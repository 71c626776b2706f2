//! Training a byte-level BPE with the trainer of crate `tokenizers`.

use std::path::Path;

use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::{AddedToken, Tokenizer as Inner};

use super::gpt2::byte_symbols;
use super::{END_OF_TEXT, Tokenizer};
use crate::DataError;

pub(super) fn train<S: AsRef<str> + Send>(
    documents: impl Iterator<Item = S> + Send,
    vocab_size: usize,
) -> Result<Tokenizer, DataError> {
    let byte_level = ByteLevel::default().add_prefix_space(false);
    let mut inner = Inner::new(BPE::default());
    inner
        .with_pre_tokenizer(Some(byte_level))
        .with_decoder(Some(byte_level));
    let trainer = BpeTrainerBuilder::new()
        .vocab_size(vocab_size)
        .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
        .initial_alphabet(byte_symbols().into_iter().collect())
        .show_progress(false)
        .build();
    // A byte-level pre-tokenizer accepts every text and the trainer has no other way to fail.
    inner
        .train(&mut TrainerWrapper::BpeTrainer(trainer), documents)
        .expect("byte-level BPE trains on any text");
    let tokenizer = Tokenizer::wrap(inner, Path::new("trained tokenizer"), None)?;
    if tokenizer.vocab_size() == vocab_size {
        Ok(tokenizer)
    } else {
        let found = tokenizer.vocab_size();
        Err(DataError::VocabularyTooLarge {
            wanted: vocab_size,
            found,
        })
    }
}
