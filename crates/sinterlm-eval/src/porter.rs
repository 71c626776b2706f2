//! Porter's stemmer with the extensions of NLTK, the form that rouge-score uses.
//!
//! M. F. Porter, "An algorithm for suffix stripping", Program 14.3 (1980), and NLTK's
//! `PorterStemmer` in its mode `NLTK_EXTENSIONS`, to which the names of the steps refer.

/// A rule: an ending, what replaces it, and the least measure of what stands before the ending.
type Rule = (&'static str, &'static str, usize);

const IRREGULAR: [(&str, &str); 16] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

const STEP_1A: [Rule; 4] = [
    ("sses", "ss", 0),
    ("ies", "i", 0),
    ("ss", "ss", 0),
    ("s", "", 0),
];

const STEP_2: [Rule; 21] = [
    ("ational", "ate", 1),
    ("tional", "tion", 1),
    ("enci", "ence", 1),
    ("anci", "ance", 1),
    ("izer", "ize", 1),
    ("bli", "ble", 1),
    ("alli", "al", 1),
    ("entli", "ent", 1),
    ("eli", "e", 1),
    ("ousli", "ous", 1),
    ("ization", "ize", 1),
    ("ation", "ate", 1),
    ("ator", "ate", 1),
    ("alism", "al", 1),
    ("iveness", "ive", 1),
    ("fulness", "ful", 1),
    ("ousness", "ous", 1),
    ("aliti", "al", 1),
    ("iviti", "ive", 1),
    ("biliti", "ble", 1),
    ("fulli", "ful", 1),
];

const STEP_3: [Rule; 7] = [
    ("icate", "ic", 1),
    ("ative", "", 1),
    ("alize", "al", 1),
    ("iciti", "ic", 1),
    ("ical", "ic", 1),
    ("ful", "", 1),
    ("ness", "", 1),
];

/// `ion` asks for an `s` or `t` before it besides.
const STEP_4: [Rule; 19] = [
    ("al", "", 2),
    ("ance", "", 2),
    ("ence", "", 2),
    ("er", "", 2),
    ("ic", "", 2),
    ("able", "", 2),
    ("ible", "", 2),
    ("ant", "", 2),
    ("ement", "", 2),
    ("ment", "", 2),
    ("ent", "", 2),
    ("ion", "", 2),
    ("ou", "", 2),
    ("ism", "", 2),
    ("ate", "", 2),
    ("iti", "", 2),
    ("ous", "", 2),
    ("ive", "", 2),
    ("ize", "", 2),
];

/// The stem of a word of lower-case ASCII letters and digits.
pub(crate) fn stem(word: &str) -> String {
    if let Some((_, stem)) = IRREGULAR.iter().find(|(form, _)| *form == word) {
        return (*stem).to_owned();
    }
    if word.len() <= 2 {
        return word.to_owned();
    }
    let word = step_1c(step_1b(step_1a(word.to_owned())));
    let word = step_4(apply(step_2(word), &STEP_3));
    step_5b(step_5a(word))
}

fn step_1a(word: String) -> String {
    if word.len() == 4 && word.ends_with("ies") {
        return cut(&word, 1).to_owned();
    }
    apply(word, &STEP_1A)
}

fn step_1b(word: String) -> String {
    if word.ends_with("ied") {
        let end = if word.len() == 4 { 1 } else { 2 };
        return cut(&word, end).to_owned();
    }
    if let Some(stem) = word.strip_suffix("eed") {
        return if measure(stem) > 0 {
            cut(&word, 1).to_owned()
        } else {
            word
        };
    }
    let stem = ["ed", "ing"]
        .into_iter()
        .find_map(|ending| word.strip_suffix(ending).filter(|stem| has_vowel(stem)));
    let Some(stem) = stem else {
        return word;
    };
    if ["at", "bl", "iz"]
        .iter()
        .any(|ending| stem.ends_with(ending))
    {
        return format!("{stem}e");
    }
    if ends_in_double_consonant(stem) {
        let single = !stem.ends_with(['l', 's', 'z']);
        return cut(stem, usize::from(single)).to_owned();
    }
    if measure(stem) == 1 && ends_cvc(stem) {
        return format!("{stem}e");
    }
    stem.to_owned()
}

fn step_1c(word: String) -> String {
    match word.strip_suffix('y') {
        Some(stem) if stem.len() > 1 && is_consonant(stem, stem.len() - 1) => format!("{stem}i"),
        _ => word,
    }
}

fn step_2(word: String) -> String {
    match word.strip_suffix("alli") {
        // What is left may end in another suffix of this step.
        Some(stem) if measure(stem) > 0 => return step_2(format!("{stem}al")),
        _ => {}
    }
    // The `l` counts with the stem, so that "geologi" is treated as "archaeologi" is.
    if word.ends_with("logi") && measure(cut(&word, 3)) > 0 {
        return cut(&word, 1).to_owned();
    }
    apply(word, &STEP_2)
}

fn step_4(word: String) -> String {
    match word.strip_suffix("ion") {
        Some(stem) if !stem.ends_with(['s', 't']) => word,
        _ => apply(word, &STEP_4),
    }
}

fn step_5a(word: String) -> String {
    let Some(stem) = word.strip_suffix('e') else {
        return word;
    };
    match measure(stem) {
        0 => word,
        1 if ends_cvc(stem) => word,
        _ => stem.to_owned(),
    }
}

fn step_5b(word: String) -> String {
    if word.ends_with("ll") && measure(cut(&word, 1)) > 1 {
        return cut(&word, 1).to_owned();
    }
    word
}

/// The first rule whose ending matches decides, also where its condition then fails.
fn apply(word: String, rules: &[Rule]) -> String {
    let rule = rules
        .iter()
        .find_map(|&(ending, new, least)| word.strip_suffix(ending).map(|stem| (stem, new, least)));
    match rule {
        Some((stem, new, least)) if least == 0 || measure(stem) >= least => format!("{stem}{new}"),
        _ => word,
    }
}

/// The word without its last letters, all of which are ASCII.
fn cut(word: &str, letters: usize) -> &str {
    &word[..word.len() - letters]
}

/// Which letters are consonants: all but a, e, i, o, u, and a `y` after a consonant.
fn consonants(word: &str) -> impl Iterator<Item = bool> {
    word.bytes().scan(false, |previous, letter| {
        *previous = match letter {
            b'a' | b'e' | b'i' | b'o' | b'u' => false,
            b'y' => !*previous,
            _ => true,
        };
        Some(*previous)
    })
}

fn is_consonant(word: &str, place: usize) -> bool {
    consonants(word)
        .nth(place)
        .is_some_and(|consonant| consonant)
}

/// Porter's measure: how often a consonant follows a vowel.
fn measure(word: &str) -> usize {
    consonants(word)
        .zip(consonants(word).skip(1))
        .filter(|(first, second)| !first && *second)
        .count()
}

fn has_vowel(word: &str) -> bool {
    consonants(word).any(|consonant| !consonant)
}

fn ends_in_double_consonant(word: &str) -> bool {
    let letters = word.as_bytes();
    let last = letters.len().wrapping_sub(1);
    letters.len() >= 2 && letters[last] == letters[last - 1] && is_consonant(word, last)
}

/// Porter's `*o`: consonant, vowel, consonant other than w, x, y; or a word of vowel and consonant.
fn ends_cvc(word: &str) -> bool {
    let kinds: Vec<bool> = consonants(word).collect();
    match kinds[..] {
        [false, true] => true,
        [.., true, false, true] => !word.ends_with(['w', 'x', 'y']),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems_equal_nltks() {
        #[derive(serde::Deserialize)]
        struct Fixture {
            data: std::collections::BTreeMap<String, String>,
        }
        let fixture: Fixture =
            serde_json::from_str(include_str!("../fixtures/stems.json")).unwrap();
        assert!(fixture.data.len() >= 1000);
        for (word, expected) in &fixture.data {
            assert_eq!(&stem(word), expected, "{word}");
        }
    }
}
