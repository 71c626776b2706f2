//! The closed tables of words that the tasks are made of, so that each answer follows from a table.

use sinterlm_config::KeyRng;

use crate::stories::world::index;

/// A kind of thing with its words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Category {
    /// Its name with an article, as in *an animal*.
    pub(super) a: &'static str,
    /// The words, each with its plural; no word stands in two categories.
    pub(super) words: &'static [(&'static str, &'static str)],
}

impl Category {
    /// Its name without an article.
    pub(super) fn name(&self) -> &'static str {
        self.a.split_once(' ').map_or(self.a, |(_, name)| name)
    }
}

/// The categories, the last of which has no plurals of use.
pub(super) const CATEGORIES: &[Category] = &[
    Category {
        a: "an animal",
        words: &[
            ("cat", "cats"),
            ("dog", "dogs"),
            ("cow", "cows"),
            ("pig", "pigs"),
            ("hen", "hens"),
            ("fox", "foxes"),
            ("mouse", "mice"),
            ("duck", "ducks"),
            ("goat", "goats"),
            ("horse", "horses"),
            ("frog", "frogs"),
            ("bear", "bears"),
            ("bee", "bees"),
            ("wolf", "wolves"),
            ("goose", "geese"),
            ("lion", "lions"),
        ],
    },
    Category {
        a: "a fruit",
        words: &[
            ("apple", "apples"),
            ("pear", "pears"),
            ("plum", "plums"),
            ("cherry", "cherries"),
            ("lemon", "lemons"),
            ("peach", "peaches"),
            ("grape", "grapes"),
            ("banana", "bananas"),
            ("melon", "melons"),
            ("berry", "berries"),
        ],
    },
    Category {
        a: "a toy",
        words: &[
            ("ball", "balls"),
            ("kite", "kites"),
            ("doll", "dolls"),
            ("drum", "drums"),
            ("puzzle", "puzzles"),
            ("robot", "robots"),
            ("balloon", "balloons"),
            ("puppet", "puppets"),
        ],
    },
    Category {
        a: "a body part",
        words: &[
            ("hand", "hands"),
            ("foot", "feet"),
            ("nose", "noses"),
            ("ear", "ears"),
            ("eye", "eyes"),
            ("arm", "arms"),
            ("leg", "legs"),
            ("tooth", "teeth"),
            ("finger", "fingers"),
            ("toe", "toes"),
        ],
    },
    Category {
        a: "a piece of clothing",
        words: &[
            ("hat", "hats"),
            ("coat", "coats"),
            ("scarf", "scarves"),
            ("sock", "socks"),
            ("shoe", "shoes"),
            ("shirt", "shirts"),
            ("dress", "dresses"),
            ("glove", "gloves"),
            ("boot", "boots"),
            ("cap", "caps"),
        ],
    },
    Category {
        a: "a color",
        words: &[
            ("red", "reds"),
            ("blue", "blues"),
            ("green", "greens"),
            ("yellow", "yellows"),
            ("black", "blacks"),
            ("white", "whites"),
            ("brown", "browns"),
            ("pink", "pinks"),
            ("gray", "grays"),
            ("purple", "purples"),
        ],
    },
];

/// Words and their opposites. Each word stands in one pair alone.
pub(super) const OPPOSITES: &[(&str, &str)] = &[
    ("hot", "cold"),
    ("big", "small"),
    ("fast", "slow"),
    ("happy", "sad"),
    ("wet", "dry"),
    ("day", "night"),
    ("up", "down"),
    ("in", "out"),
    ("open", "shut"),
    ("high", "low"),
    ("long", "short"),
    ("hard", "soft"),
    ("full", "empty"),
    ("near", "far"),
    ("early", "late"),
    ("good", "bad"),
    ("loud", "quiet"),
    ("clean", "dirty"),
    ("strong", "weak"),
    ("thick", "thin"),
    ("rich", "poor"),
    ("yes", "no"),
    ("front", "back"),
    ("top", "bottom"),
    ("push", "pull"),
    ("give", "take"),
    ("win", "lose"),
    ("buy", "sell"),
    ("come", "go"),
    ("love", "hate"),
    ("laugh", "cry"),
    ("start", "stop"),
    ("true", "false"),
    ("always", "never"),
];

/// One of `items`.
pub(super) fn pick<'a, T>(rng: &mut KeyRng, items: &'a [T]) -> &'a T {
    &items[index(rng, items.len())]
}

/// A number from `low` to `high`, both included.
pub(super) fn between(rng: &mut KeyRng, low: usize, high: usize) -> usize {
    low + index(rng, high - low + 1)
}

/// `count` different values of `draw`.
pub(super) fn different<T: PartialEq>(
    rng: &mut KeyRng,
    count: usize,
    mut draw: impl FnMut(&mut KeyRng) -> T,
) -> Vec<T> {
    let mut values = Vec::with_capacity(count);
    while values.len() < count {
        let value = draw(rng);
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

/// A word of any category, each word equally likely.
pub(super) fn noun(rng: &mut KeyRng) -> &'static str {
    noun_and_plural(rng, CATEGORIES).0
}

/// A word of `categories` with its plural.
pub(super) fn noun_and_plural(
    rng: &mut KeyRng,
    categories: &[Category],
) -> (&'static str, &'static str) {
    let total = categories.iter().map(|category| category.words.len()).sum();
    let at = index(rng, total);
    let mut words = categories.iter().flat_map(|category| category.words);
    *words
        .nth(at)
        .expect("the number is below the count of words")
}

/// A word that has an opposite, with the opposite.
pub(super) fn word_and_opposite(rng: &mut KeyRng) -> (&'static str, &'static str) {
    let (one, other) = *pick(rng, OPPOSITES);
    if index(rng, 2) == 0 {
        (one, other)
    } else {
        (other, one)
    }
}

/// A short list of different nouns.
pub(super) fn nouns(rng: &mut KeyRng, low: usize, high: usize) -> Vec<String> {
    let count = between(rng, low, high);
    let words = different(rng, count, noun);
    words.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_word_has_two_categories_or_two_opposites() {
        let nouns = CATEGORIES.iter().flat_map(|category| category.words);
        let opposites = OPPOSITES.iter().flat_map(|(one, other)| [one, other]);
        let mut seen = HashSet::new();
        for word in nouns.map(|(word, _)| word).chain(opposites) {
            assert!(seen.insert(word), "{word} stands in the tables twice");
        }
    }
}
