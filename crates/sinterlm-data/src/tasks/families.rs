//! Families of closed-form questions beside the operations on lists: letters, case, numbers, kinds of
//! things, membership and a short scene to read.

use sinterlm_config::KeyRng;

use super::Question;
use super::formats::plain;
use super::words::{
    CATEGORIES, between, different, noun, noun_and_plural, nouns, pick, word_and_opposite,
};
use crate::stories::world::{chance, index};
use crate::stories::{Fact, Scene};

/// Largest number in lists of numbers.
const LARGEST: usize = 30;

fn question(rng: &mut KeyRng, phrases: &[&str], input: String, output: String) -> Question {
    Question {
        instruction: (*pick(rng, phrases)).to_owned(),
        input,
        output,
    }
}

/// Second or third word of a list.
pub(super) fn nth(rng: &mut KeyRng) -> Question {
    let words = nouns(rng, 3, 4);
    let at = between(rng, 1, 2);
    let ordinal = ["second", "third"][at - 1];
    let phrases = [
        "What is the NTH word?",
        "Give the NTH word of the list.",
        "Which word comes NTH?",
    ];
    let mut question = question(rng, &phrases, plain(&words), words[at].clone());
    question.instruction = question.instruction.replace("NTH", ordinal);
    question
}

/// Letters in reverse order; they stand apart, so that each is a token of its own.
pub(super) fn letters(rng: &mut KeyRng) -> Question {
    let letters = spelled(rng, 4);
    let output: Vec<&str> = letters.iter().rev().map(String::as_str).collect();
    let phrases = [
        "Reverse the letters.",
        "Write the letters backwards.",
        "Spell it from the end to the beginning.",
    ];
    question(rng, &phrases, letters.join(" "), output.join(" "))
}

/// Number of words or of letters.
pub(super) fn count(rng: &mut KeyRng) -> Question {
    if chance(rng, 0.5) {
        let words = nouns(rng, 2, 6);
        let phrases = [
            "How many words are in the list?",
            "Count the words.",
            "Give the number of words.",
        ];
        question(rng, &phrases, plain(&words), words.len().to_string())
    } else {
        let letters = spelled(rng, 6);
        let phrases = [
            "How many letters are there?",
            "Count the letters.",
            "Give the number of letters.",
        ];
        question(rng, &phrases, letters.join(" "), letters.len().to_string())
    }
}

/// The letters of a short word, or two to `high` letters of no word.
fn spelled(rng: &mut KeyRng, high: usize) -> Vec<String> {
    if chance(rng, 0.3) {
        let word = word(rng);
        if (2..=high).contains(&word.len()) {
            return word.chars().map(String::from).collect();
        }
    }
    let count = between(rng, 2, high);
    let letter = |_| char::from(b'a' + index(rng, 26) as u8).to_string();
    (0..count).map(letter).collect()
}

/// A word of any table.
fn word(rng: &mut KeyRng) -> &'static str {
    match index(rng, 3) {
        0 => word_and_opposite(rng).0,
        1 => noun_and_plural(rng, CATEGORIES).1,
        _ => noun(rng),
    }
}

fn words(rng: &mut KeyRng, low: usize, high: usize) -> String {
    let count = between(rng, low, high);
    different(rng, count, word).join(", ")
}

/// Small letters to capital ones.
pub(super) fn upper(rng: &mut KeyRng) -> Question {
    let words = words(rng, 1, 3);
    let output = words.to_ascii_uppercase();
    let phrases = [
        "Write it in capital letters.",
        "Change all letters to capitals.",
        "Use only capital letters for these words.",
    ];
    question(rng, &phrases, words, output)
}

/// Capital letters to small ones.
pub(super) fn lower(rng: &mut KeyRng) -> Question {
    let words = words(rng, 1, 3);
    let input = words.to_ascii_uppercase();
    let phrases = [
        "Write it in small letters.",
        "Change all letters to small ones.",
        "Use no capital letters for these words.",
    ];
    question(rng, &phrases, input, words)
}

/// The first letter of each word becomes a capital.
pub(super) fn title(rng: &mut KeyRng) -> Question {
    let words = words(rng, 1, 3);
    let output: Vec<String> = words.split(", ").map(capital).collect();
    let phrases = [
        "Begin each word with a capital letter.",
        "Capitalize each word.",
        "Make the first letter of each word a capital.",
    ];
    question(rng, &phrases, words, output.join(", "))
}

/// `word` with a capital at its beginning.
pub(super) fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn numbers(rng: &mut KeyRng, low: usize, high: usize) -> Vec<usize> {
    let count = between(rng, low, high);
    different(rng, count, |rng| between(rng, 0, LARGEST))
}

fn listed(numbers: &[usize]) -> String {
    let texts: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    plain(&texts)
}

/// Numbers from small to large.
pub(super) fn order(rng: &mut KeyRng) -> Question {
    let numbers = numbers(rng, 2, 3);
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    let phrases = [
        "Sort the numbers.",
        "Order the numbers from small to large.",
        "Write the numbers from the smallest to the largest.",
    ];
    question(rng, &phrases, listed(&numbers), listed(&sorted))
}

/// The largest of some numbers.
pub(super) fn largest(rng: &mut KeyRng) -> Question {
    let numbers = numbers(rng, 2, 3);
    let most = numbers.iter().max().map(ToString::to_string);
    let phrases = [
        "Which number is the largest?",
        "Give the biggest number.",
        "Find the largest number.",
    ];
    question(rng, &phrases, listed(&numbers), most.unwrap_or_default())
}

/// The smallest of some numbers.
pub(super) fn smallest(rng: &mut KeyRng) -> Question {
    let numbers = numbers(rng, 2, 3);
    let least = numbers.iter().min().map(ToString::to_string);
    let phrases = [
        "Which number is the smallest?",
        "Give the least number.",
        "Find the smallest number.",
    ];
    question(rng, &phrases, listed(&numbers), least.unwrap_or_default())
}

/// One or two sums of numbers up to 9.
pub(super) fn add(rng: &mut KeyRng) -> Question {
    let sums = sums(rng, |rng| (index(rng, 10), index(rng, 10)));
    let phrases = ["Add.", "Work out the sum.", "What is the sum?"];
    let input = sums.iter().map(|(a, b)| format!("{a} + {b}"));
    let output = sums.iter().map(|(a, b)| (a + b).to_string());
    let (input, output): (Vec<_>, Vec<_>) = (input.collect(), output.collect());
    question(rng, &phrases, plain(&input), plain(&output))
}

/// One or two differences of numbers up to 9, none below 0.
pub(super) fn subtract(rng: &mut KeyRng) -> Question {
    let pairs = sums(rng, |rng| {
        let from = index(rng, 10);
        (from, between(rng, 0, from))
    });
    let phrases = [
        "Subtract.",
        "Work out the difference.",
        "What is the difference?",
    ];
    let input = pairs.iter().map(|(a, b)| format!("{a} - {b}"));
    let output = pairs.iter().map(|(a, b)| (a - b).to_string());
    let (input, output): (Vec<_>, Vec<_>) = (input.collect(), output.collect());
    question(rng, &phrases, plain(&input), plain(&output))
}

/// One pair of numbers in a third of the questions, two in the others: each pair is seen in training,
/// in other company.
fn sums(rng: &mut KeyRng, draw: impl FnMut(&mut KeyRng) -> (usize, usize)) -> Vec<(usize, usize)> {
    let count = if chance(rng, 0.33) { 1 } else { 2 };
    different(rng, count, draw)
}

/// What kind of thing each word is.
pub(super) fn category(rng: &mut KeyRng) -> Question {
    let count = between(rng, 1, 3);
    let words = different(rng, count, noun);
    let kinds = words.iter().map(|word| {
        let own = CATEGORIES
            .iter()
            .find(|category| category.words.iter().any(|(own, _)| own == word));
        own.map_or("", |category| category.name())
    });
    let output: Vec<&str> = kinds.collect();
    let phrases = [
        "What kind of thing is each word?",
        "Name the kind of each thing.",
        "Give the category of each word.",
    ];
    question(rng, &phrases, words.join(", "), output.join(", "))
}

/// Whether a list has a word, or a word of a category.
pub(super) fn member(rng: &mut KeyRng) -> Question {
    let words = nouns(rng, 2, 3);
    let is_wanted = chance(rng, 0.5);
    let is_word = chance(rng, 0.5);
    // What is asked for, and whether the list has it.
    let asked = loop {
        let (wanted, has) = if is_word {
            let wanted = if is_wanted {
                words[index(rng, words.len())].clone()
            } else {
                noun(rng).to_owned()
            };
            let has = words.contains(&wanted);
            (format!("the word {wanted}"), has)
        } else {
            let category = pick(rng, CATEGORIES);
            let is_own = |word: &String| category.words.iter().any(|(own, _)| own == word);
            (category.a.to_owned(), words.iter().any(is_own))
        };
        if has == is_wanted {
            break wanted;
        }
    };
    let phrases = [
        "Is there WANTED in the list? Answer yes or no.",
        "Does the list have WANTED? Say yes or no.",
        "Answer yes or no: can you find WANTED in the list?",
    ];
    let output = if is_wanted { "yes" } else { "no" };
    let mut question = question(rng, &phrases, plain(&words), output.to_owned());
    question.instruction = question.instruction.replace("WANTED", &asked);
    question
}

/// A question about a scene of the story generator: who, where, what.
pub(super) fn story(rng: &mut KeyRng) -> Question {
    let scene = Scene::draw(rng);
    let (hero, friend, find) = (&scene.hero, &scene.friend, &scene.find);
    let (fact, phrases) = match index(rng, 6) {
        0 => (
            Fact::Hero,
            [
                format!("Who found the {find}? Give the name."),
                "Who is the story about? Give the name.".to_owned(),
            ],
        ),
        1 => (
            Fact::Friend,
            [
                "Who came later? Give the name.".to_owned(),
                format!("Who gave {hero} something? Give the name."),
            ],
        ),
        2 => (
            Fact::Place,
            [
                format!("Where did {hero} go? Name the place."),
                "Where does the story happen? Name the place.".to_owned(),
            ],
        ),
        3 => (
            Fact::Find,
            [
                format!("What did {hero} find? Name the thing."),
                "What thing was found? Name it.".to_owned(),
            ],
        ),
        4 => (
            Fact::Colour,
            [
                format!("What color was the {find}?"),
                format!("Which color did the {find} have?"),
            ],
        ),
        _ => (
            Fact::Food,
            [
                format!("What did {friend} give {hero}?"),
                format!("What did {hero} get from {friend}?"),
            ],
        ),
    };
    Question {
        instruction: pick(rng, &phrases).clone(),
        output: scene.answer(fact).to_owned(),
        input: scene.text,
    }
}
