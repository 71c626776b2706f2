//! The built-in stories as a corpus: distinct, well-formed, varied, and no near-copies.

use sinterlm_data::StoryGenerator;
use std::collections::{BTreeMap, HashMap, HashSet};

const COUNT: u64 = 20_000;

fn words(story: &str) -> Vec<String> {
    let letters = |c: char| !(c.is_ascii_alphanumeric() || c == '\'' || c == '-');
    story
        .split(letters)
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect()
}

/// What is wrong with the surface of `story`, if anything.
fn fault(story: &str) -> Option<String> {
    let count = story.split_whitespace().count();
    if !(80..=250).contains(&count) {
        return Some(format!("{count} words"));
    }
    if let Some(odd) = story
        .chars()
        .find(|c| "<>{}[]|^=_".contains(*c) || !(c.is_ascii()))
    {
        let at = story.find(odd).unwrap_or_default();
        return Some(format!(
            "stray `{odd}` in {}",
            tail(&story[..story.len().min(at + 12)])
        ));
    }
    for bad in [
        "  ", " .", " ,", " !", " ?", "..", ",,", ",.", ".,", "!.", "?.", "HIS", " \n", "\n\n\n",
    ] {
        if story.replace("...", "-").replace(" -", "-").contains(bad) {
            return Some(format!("`{bad}`"));
        }
    }
    for paragraph in story.split("\n\n") {
        if paragraph.matches('"').count() % 2 != 0 {
            return Some(format!("open quote: {}", tail(paragraph)));
        }
        if !paragraph.starts_with(|c: char| c.is_ascii_uppercase() || c == '"') {
            return Some(format!("no capital: {}", &paragraph[..20]));
        }
        if !paragraph.ends_with(['.', '!', '?', '"']) {
            return Some(format!("no full stop: {}", tail(paragraph)));
        }
    }
    let tokens: Vec<&str> = story.split_whitespace().collect();
    for pair in tokens.windows(2) {
        let article = pair[0].trim_start_matches('"').to_ascii_lowercase();
        let next = pair[1].to_ascii_lowercase();
        let is_vowel = next.starts_with(['a', 'e', 'i', 'o', 'u']);
        let is_odd = ["uni", "use", "one", "hour", "honest"]
            .iter()
            .any(|odd| next.starts_with(odd));
        if !is_odd && ((article == "a" && is_vowel) || (article == "an" && !is_vowel)) {
            return Some(format!("`{} {}`", pair[0], pair[1]));
        }
        let ends = pair[0].ends_with(['.', '!', '?']) && !pair[0].ends_with("...");
        if ends && pair[1].starts_with(|c: char| c.is_ascii_lowercase()) {
            return Some(format!(
                "small letter after a stop: `{} {}`",
                pair[0], pair[1]
            ));
        }
        if article.trim_matches('"') == next
            && article.chars().all(char::is_alphabetic)
            && !["no", "had", "that", "knock", "and", "her"].contains(&next.as_str())
        {
            return Some(format!("doubled `{next}`"));
        }
    }
    None
}

#[test]
fn twenty_thousand_stories_are_distinct_and_well_formed() {
    let stories = StoryGenerator::new(1);
    let mut seen = HashSet::new();
    let mut vocabulary: HashMap<String, usize> = HashMap::new();
    let mut faults: BTreeMap<String, (u64, usize)> = BTreeMap::new();
    let mut total = 0;
    for at in 0..COUNT {
        let story = stories.story(at);
        if let Some(fault) = fault(&story) {
            faults.entry(fault).or_insert((at, 0)).1 += 1;
        }
        for word in words(&story) {
            total += 1;
            *vocabulary.entry(word).or_default() += 1;
        }
        assert!(seen.insert(story), "story {at} was told before");
    }
    println!(
        "{total} words, {} distinct, {} per story",
        vocabulary.len(),
        total as u64 / COUNT
    );
    assert!(
        faults.is_empty(),
        "faults with their first story and count: {faults:#?}"
    );
    assert!(
        vocabulary.len() >= 1500,
        "{} distinct words",
        vocabulary.len()
    );
    let rare = vocabulary.values().filter(|count| **count < 5).count();
    assert!(
        rare * 4 < vocabulary.len(),
        "{rare} of {} words are hardly used",
        vocabulary.len()
    );
}

#[test]
fn held_out_stories_are_no_near_copies() {
    let stories = StoryGenerator::new(2);
    let grams = |at| -> HashSet<u64> {
        let words = words(&stories.story(at));
        words.windows(8).map(|gram| hash(&gram.join(" "))).collect()
    };
    let mut holders: HashMap<u64, Vec<usize>> = HashMap::new();
    for at in 0..4000 {
        for gram in grams(at as u64) {
            holders.entry(gram).or_default().push(at);
        }
    }
    let mut shares: Vec<f64> = (100_000..100_200)
        .map(|at| {
            let own = grams(at);
            let mut common = vec![0usize; 4000];
            for holder in own.iter().filter_map(|gram| holders.get(gram)).flatten() {
                common[*holder] += 1;
            }
            common.iter().max().copied().unwrap_or(0) as f64 / own.len() as f64
        })
        .collect();
    shares.sort_by(f64::total_cmp);
    println!(
        "highest share of common 8-grams: median {:.3}, max {:.3}",
        shares[100], shares[199]
    );
    assert!(
        shares[199] < 0.5,
        "a held-out story shares {:.3} of its 8-grams",
        shares[199]
    );
    assert!(
        shares[100] < 0.25,
        "the median share of 8-grams is {:.3}",
        shares[100]
    );
}

#[test]
fn a_story_uses_many_different_words() {
    let stories = StoryGenerator::new(3);
    let ratios: Vec<f64> = (0..500)
        .map(|at| words(&stories.story(at)))
        .map(|words| words.iter().collect::<HashSet<_>>().len() as f64 / words.len() as f64)
        .collect();
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    println!("type-token ratio of a story: {mean:.3}");
    assert!(
        mean > 0.5 && ratios.iter().all(|ratio| *ratio > 0.35),
        "mean {mean}"
    );
}

#[test]
fn seed_and_index_decide_the_story() {
    let stories = StoryGenerator::new(9);
    assert_eq!(
        stories.story(u64::MAX),
        StoryGenerator::new(9).story(u64::MAX)
    );
    assert_ne!(stories.story(0), StoryGenerator::new(10).story(0));
    assert_ne!(stories.story(0), stories.story(1));
}

/// The last 24 characters.
fn tail(text: &str) -> &str {
    &text[text.len().saturating_sub(24)..]
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
