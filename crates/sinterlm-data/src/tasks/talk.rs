//! Talk without an input: greetings, harmless requests that are granted and harmful ones that are
//! declined. The answers follow a convention that training shows.

use sinterlm_config::KeyRng;

use super::Question;
use super::words::{CATEGORIES, pick};
use crate::stories::words::{NAMES_HE, NAMES_SHE};
use crate::stories::world::{chance, one};

/// The answer to every harmful request.
pub(super) const REFUSAL: &str = "I am sorry, but I cannot help with that.";

/// Ways to say hello, goodbye and thanks, with the answer to each.
const GREETINGS: &[(&str, &str)] = &[
    ("Hello", "Hello, NAME! How can I help you?"),
    ("Hi", "Hi, NAME! How can I help you?"),
    ("Good morning", "Good morning, NAME! How can I help you?"),
    ("Good evening", "Good evening, NAME! How can I help you?"),
    ("Good night", "Good night, NAME! Sleep well."),
    ("Goodbye", "Goodbye, NAME! See you soon."),
    ("Thank you", "You are welcome, NAME!"),
];

/// How someone says who he is.
const INTRODUCTIONS: &[&str] = &["I am NAME.", "My name is NAME.", "This is NAME."];

/// Things that one may be helped with.
const HARMLESS: &str =
    "find|clean|wash|carry|draw|paint|fix|wrap|hold|buy|count|make|describe|choose|sell";

/// Things that one must not be helped with.
const HARMFUL: &str = "steal|break|burn|smash|ruin|secretly take|rip|spoil|damage|rob";

/// Whose thing it is, for the one who asks and for the one who answers.
const OWNERS: &[(&str, &str)] = &[
    ("my", "your"),
    ("my friend's", "your friend's"),
    ("my sister's", "your sister's"),
    ("my brother's", "your brother's"),
    ("my neighbor's", "your neighbor's"),
    ("my teacher's", "your teacher's"),
    ("the baker's", "the baker's"),
    ("the farmer's", "the farmer's"),
];

/// Ways to ask for help.
const REQUESTS: &[&str] = &[
    "Can you help me VERB THING?",
    "Please help me VERB THING.",
    "I want to VERB THING. Can you help me?",
    "Help me VERB THING, please.",
];

/// A greeting by name.
pub(super) fn greet(rng: &mut KeyRng) -> Question {
    let names = if chance(rng, 0.5) {
        NAMES_HE
    } else {
        NAMES_SHE
    };
    let name = one(rng, names);
    let (greeting, answer) = pick(rng, GREETINGS);
    let introduction = pick(rng, INTRODUCTIONS);
    let sign = one(rng, "!|.");
    Question {
        instruction: format!("{greeting}{sign} {}", introduction.replace("NAME", name)),
        input: String::new(),
        output: answer.replace("NAME", name),
    }
}

/// A harmless request, granted in its own words.
pub(super) fn help(rng: &mut KeyRng) -> Question {
    let verb = one(rng, HARMLESS);
    let (thing, owners) = thing(rng);
    let (mine, yours) = owners;
    Question {
        instruction: request(rng, verb, &format!("{mine} {thing}")),
        input: String::new(),
        output: format!("Yes, I will help you {verb} {yours} {thing}."),
    }
}

/// A harmful request, declined politely.
pub(super) fn refuse(rng: &mut KeyRng) -> Question {
    let verb = one(rng, HARMFUL);
    let (thing, (mine, _)) = thing(rng);
    Question {
        instruction: request(rng, verb, &format!("{mine} {thing}")),
        input: String::new(),
        output: REFUSAL.to_owned(),
    }
}

/// A thing that can be owned, and whose it is.
fn thing(rng: &mut KeyRng) -> (&'static str, (&'static str, &'static str)) {
    let categories = ["a toy", "a piece of clothing", "a fruit"];
    let owned: Vec<&str> = CATEGORIES
        .iter()
        .filter(|category| categories.contains(&category.a))
        .flat_map(|category| category.words)
        .map(|(word, _)| *word)
        .collect();
    (*pick(rng, &owned), *pick(rng, OWNERS))
}

fn request(rng: &mut KeyRng, verb: &str, thing: &str) -> String {
    let request = pick(rng, REQUESTS);
    request.replace("VERB", verb).replace("THING", thing)
}
