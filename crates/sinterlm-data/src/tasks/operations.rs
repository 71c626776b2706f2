//! Operations on a list of words, whose answers can be given in any format of `formats`.

use sinterlm_config::KeyRng;

use super::words::{
    CATEGORIES, between, different, noun, noun_and_plural, nouns, pick, word_and_opposite,
};
use crate::stories::world::index;

/// A question with the words of its answer.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) instruction: String,
    pub(super) input: String,
    pub(super) answer: Vec<String>,
}

/// An operation: its name and how an example of it is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) ask: fn(&mut KeyRng) -> Asked,
}

/// All operations.
pub(super) const OPERATIONS: &[Operation] = &[
    operation("copy", copy),
    operation("reverse", reverse),
    operation("sort", sort),
    operation("first", first),
    operation("last", last),
    operation("opposite", opposite),
    operation("plural", plural),
    operation("pick", pick_of_category),
];

const fn operation(name: &'static str, ask: fn(&mut KeyRng) -> Asked) -> Operation {
    Operation { name, ask }
}

fn asked(rng: &mut KeyRng, phrases: &[&str], words: &[String], answer: Vec<String>) -> Asked {
    Asked {
        instruction: (*pick(rng, phrases)).to_owned(),
        input: words.join(", "),
        answer,
    }
}

fn copy(rng: &mut KeyRng) -> Asked {
    let words = nouns(rng, 2, 4);
    let phrases = [
        "Copy the words.",
        "Repeat the list.",
        "Write the same words again.",
        "Say the words as they are.",
    ];
    asked(rng, &phrases, &words, words.clone())
}

fn reverse(rng: &mut KeyRng) -> Asked {
    let words = nouns(rng, 2, 3);
    let answer = words.iter().rev().cloned().collect();
    let phrases = [
        "Reverse the list.",
        "Write the words backwards, from the last to the first.",
        "Put the words in reverse order.",
        "Turn the order of the words around.",
    ];
    asked(rng, &phrases, &words, answer)
}

fn sort(rng: &mut KeyRng) -> Asked {
    let words = nouns(rng, 2, 3);
    let mut answer = words.clone();
    answer.sort();
    let phrases = [
        "Sort the words.",
        "Put the words in alphabetical order.",
        "Sort the list from a to z.",
        "Order the words by the alphabet.",
    ];
    asked(rng, &phrases, &words, answer)
}

fn first(rng: &mut KeyRng) -> Asked {
    let words = nouns(rng, 2, 4);
    let answer = vec![words[0].clone()];
    let phrases = [
        "What is the first word?",
        "Give the first word of the list.",
        "Which word comes first?",
    ];
    asked(rng, &phrases, &words, answer)
}

fn last(rng: &mut KeyRng) -> Asked {
    let words = nouns(rng, 2, 4);
    let answer = vec![words[words.len() - 1].clone()];
    let phrases = [
        "What is the last word?",
        "Give the last word of the list.",
        "Which word comes last?",
    ];
    asked(rng, &phrases, &words, answer)
}

fn opposite(rng: &mut KeyRng) -> Asked {
    let count = between(rng, 1, 2);
    let pairs = different(rng, count, word_and_opposite);
    let (words, answer): (Vec<_>, Vec<_>) = owned(pairs);
    let phrases = [
        "Give the opposite of each word.",
        "Write the opposites.",
        "What is the opposite?",
        "Say the contrary of each word.",
    ];
    asked(rng, &phrases, &words, answer)
}

fn plural(rng: &mut KeyRng) -> Asked {
    let count = between(rng, 1, 3);
    let (_, things) = CATEGORIES.split_last().expect("there are categories");
    let pairs = different(rng, count, |rng| noun_and_plural(rng, things));
    let (words, answer) = owned(pairs);
    let phrases = [
        "Write the plural of each word.",
        "Give the plural.",
        "Put the words in the plural.",
        "Say it for more than one.",
    ];
    asked(rng, &phrases, &words, answer)
}

fn pick_of_category(rng: &mut KeyRng) -> Asked {
    let category = pick(rng, CATEGORIES);
    let wanted = pick(rng, category.words).0.to_owned();
    let count = between(rng, 1, 2);
    let is_other = |word: &str| category.words.iter().all(|(own, _)| *own != word);
    let others = different(rng, count, |rng| {
        loop {
            let word = noun(rng);
            if is_other(word) {
                break word;
            }
        }
    });
    let mut words: Vec<String> = others.into_iter().map(str::to_owned).collect();
    words.insert(index(rng, count + 1), wanted.clone());
    let phrases = [
        "Which word is CATEGORY?",
        "Find the word that is CATEGORY.",
        "Pick the word for CATEGORY.",
    ];
    let mut asked = asked(rng, &phrases, &words, vec![wanted]);
    asked.instruction = asked.instruction.replace("CATEGORY", category.a);
    asked
}

/// Pairs of words as two lists.
fn owned(pairs: Vec<(&str, &str)>) -> (Vec<String>, Vec<String>) {
    let own = |(one, other): (&str, &str)| (one.to_owned(), other.to_owned());
    pairs.into_iter().map(own).unzip()
}
