//! Training a byte-level BPE with the trainer of crate `tokenizers`.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::{
    AddedToken, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    Tokenizer as Inner, Trainer,
};

use super::gpt2::byte_symbols;
use super::{END_OF_TEXT, Tokenizer, made};
use crate::DataError;

/// Bytes of the longest word that is trained on as a whole: the trainer's time grows with the square
/// of a word's length, and no language has words as long as this. What is longer, such as encoded data
/// or a single character many times, counts as several words.
const MAX_WORD_BYTES: usize = 4096;

pub(super) fn train<S: AsRef<str> + Send>(
    documents: impl Iterator<Item = S> + Send,
    vocab_size: usize,
) -> Result<Tokenizer, DataError> {
    let byte_level = ByteLevel::default().add_prefix_space(false);
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(vocab_size)
        .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
        .initial_alphabet(byte_symbols().into_iter().collect())
        .show_progress(false)
        .build();
    let longest = AtomicUsize::new(0);
    let words = |text: &str| {
        let mut pieces = PreTokenizedString::from(text);
        byte_level.pre_tokenize(&mut pieces)?;
        let mut words = Vec::new();
        for (word, _, _) in pieces.get_splits(OffsetReferential::Original, OffsetType::None) {
            let symbols = word.chars().count(); // one for each byte of the text
            if symbols <= MAX_WORD_BYTES {
                words.push(word.to_owned());
                continue;
            }
            longest.fetch_max(symbols, Ordering::Relaxed);
            let symbols: Vec<char> = word.chars().collect();
            words.extend(symbols.chunks(MAX_WORD_BYTES).map(String::from_iter));
        }
        Ok(words)
    };
    // A byte-level pre-tokenizer accepts every text and the trainer has no other way to fail.
    let trains = "byte-level BPE trains on any text";
    trainer.feed(documents, words).expect(trains);
    let mut model = BPE::default();
    let specials = trainer.train(&mut model).expect(trains);
    let longest = longest.into_inner();
    if longest > MAX_WORD_BYTES {
        tracing::warn!(
            bytes = longest,
            "the text has words of more than {MAX_WORD_BYTES} bytes, which the tokenizer was trained on in parts; check that it is text"
        );
    }
    let mut inner = Inner::new(model);
    inner
        .with_pre_tokenizer(Some(byte_level))
        .with_decoder(Some(byte_level))
        .add_special_tokens(&specials);
    let tokenizer = made::wrap(inner, None, None, Path::new("trained tokenizer"), "")?;
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

#[cfg(test)]
mod tests {
    use tokenizers::models::TrainerWrapper;

    use super::*;
    use crate::stories::StoryGenerator;

    #[test]
    fn words_of_usual_length_are_trained_on_as_by_the_library_alone() {
        let stories = StoryGenerator::new(7);
        let mut texts: Vec<String> = (0..200).map(|index| stories.story(index)).collect();
        texts.push("ab".repeat(MAX_WORD_BYTES / 2));
        let byte_level = ByteLevel::default().add_prefix_space(false);
        let mut alone = Inner::new(BPE::default());
        alone
            .with_pre_tokenizer(Some(byte_level))
            .with_decoder(Some(byte_level));
        let trainer = BpeTrainerBuilder::new()
            .vocab_size(600)
            .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
            .initial_alphabet(byte_symbols().into_iter().collect())
            .show_progress(false)
            .build();
        alone
            .train(&mut TrainerWrapper::BpeTrainer(trainer), texts.iter())
            .unwrap();
        let ours = train(texts.iter(), 600).unwrap();
        assert_eq!(ours.to_json(), alone.to_string(false).unwrap());
    }
}
