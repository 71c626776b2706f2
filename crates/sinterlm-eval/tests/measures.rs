//! Measures equal those of scikit-learn, scipy, rouge-score and sacrebleu on random texts and
//! predictions; `fixtures/gen_measures.py` tells how they were made.

#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sinterlm_eval::{
    Bleu, BleuTokens, ClassReport, Interval, Normalisation, Rouge, RougeScore, Threshold,
    bag_of_words, chrf,
};

/// Fixtures hold ten digits.
const DIGITS: f64 = 2e-9;

fn load<T: DeserializeOwned>(text: &str) -> Vec<T> {
    #[derive(Deserialize)]
    struct Fixture<T> {
        data: Data<T>,
    }
    #[derive(Deserialize)]
    struct Data<T> {
        cases: Vec<T>,
    }
    serde_json::from_str::<Fixture<T>>(text).unwrap().data.cases
}

#[track_caller]
fn assert_near(found: f64, expected: f64, tolerance: f64, what: &str) {
    let scale = expected.abs().max(1.0);
    assert!(
        (found - expected).abs() <= tolerance * scale,
        "{what}: {found}, not {expected}"
    );
}

#[derive(Deserialize)]
struct ClassCase {
    truth: Vec<usize>,
    sixty_fourths: Vec<u8>,
    best: Option<f64>,
    confusion: Vec<Vec<u64>>,
    figures: BTreeMap<String, f64>,
    /// Precision, recall, F1, support.
    classes: Vec<[Option<f64>; 4]>,
}

#[test]
fn figures_of_classes_equal_scikit_learns() {
    let cases = load::<ClassCase>(include_str!("../fixtures/classes.json"));
    assert!(cases.len() >= 200);
    for (number, case) in cases.iter().enumerate() {
        let labels: Vec<String> = (0..case.classes.len())
            .map(|class| class.to_string())
            .collect();
        let probabilities: Vec<f32> = case
            .sixty_fourths
            .iter()
            .map(|p| f32::from(*p) / 64.0)
            .collect();
        let report = ClassReport::of(&labels, &case.truth, &probabilities);
        assert_eq!(report.confusion, case.confusion, "case {number}");
        let written = serde_json::to_value(&report).unwrap();
        for (name, expected) in &case.figures {
            assert_near(
                written[name].as_f64().unwrap(),
                *expected,
                DIGITS,
                &format!("case {number}, {name}"),
            );
        }
        assert_eq!(
            report.roc_auc.is_some(),
            case.figures.contains_key("roc_auc"),
            "case {number}"
        );
        for (class, expected) in report.classes.iter().zip(&case.classes) {
            let found = [
                class.precision,
                class.recall,
                class.f1,
                Some(class.support as f64),
            ];
            for (found, expected) in found.into_iter().zip(expected) {
                assert_eq!(
                    found.is_some(),
                    expected.is_some(),
                    "case {number}: {found:?}"
                );
                assert_near(
                    found.unwrap_or(0.0),
                    expected.unwrap_or(0.0),
                    1e-4,
                    &format!("case {number}"),
                );
            }
        }
        if let Some(best) = case.best {
            let scores: Vec<f32> = probabilities.chunks_exact(2).map(|row| row[1]).collect();
            let threshold = Threshold::choose(&case.truth, &scores).unwrap();
            assert_near(
                threshold.balanced_accuracy,
                best,
                DIGITS,
                &format!("case {number}, threshold"),
            );
            let applied = ClassReport::at(threshold, &labels, &case.truth, &probabilities);
            assert_near(
                applied.balanced_accuracy.unwrap(),
                best,
                DIGITS,
                &format!("case {number}, applied"),
            );
        }
    }
}

#[test]
fn wilsons_interval_equals_scipys() {
    let cases = load::<(u64, u64, f64, f64)>(include_str!("../fixtures/wilson.json"));
    assert!(cases.len() >= 200);
    for (hits, count, low, high) in cases {
        let interval = Interval::wilson(hits, count).unwrap();
        assert_near(interval.low, low, DIGITS, &format!("{hits} of {count}"));
        assert_near(interval.high, high, DIGITS, &format!("{hits} of {count}"));
    }
}

#[derive(Deserialize)]
struct RougeCase {
    reference: (String, usize),
    text: (String, usize),
    /// Precision, recall, F1 of the four kinds.
    plain: [[f64; 3]; 4],
    /// Absent where it is the same.
    stemmed: Option<[[f64; 3]; 4]>,
}

#[test]
fn rouge_equals_rouge_scores() {
    let cases = load::<RougeCase>(include_str!("../fixtures/rouge.json"));
    assert!(cases.len() >= 200);
    assert!(cases.iter().filter(|case| case.stemmed.is_some()).count() >= 20);
    let parts = |score: RougeScore| [score.precision, score.recall, score.f1];
    for (number, case) in cases.iter().enumerate() {
        let reference = case.reference.0.repeat(case.reference.1);
        let text = case.text.0.repeat(case.text.1);
        for (stemmed, expected) in [
            (false, case.plain),
            (true, case.stemmed.unwrap_or(case.plain)),
        ] {
            let rouge = Rouge::of(&reference, &text, stemmed);
            let found = [
                rouge.rouge_1,
                rouge.rouge_2,
                rouge.rouge_l,
                rouge.rouge_lsum,
            ]
            .map(parts);
            for (kind, (found, expected)) in found
                .as_flattened()
                .iter()
                .zip(expected.as_flattened())
                .enumerate()
            {
                assert_near(
                    *found,
                    *expected,
                    DIGITS,
                    &format!("case {number}, stemmed {stemmed}, part {kind}"),
                );
            }
        }
    }
}

#[derive(Deserialize)]
struct BleuCase {
    pairs: Vec<(String, String)>,
    times: usize,
    #[serde(rename = "13a")]
    mteval: f64,
    char: f64,
    chrf: f64,
    precisions: [f64; 4],
    tokens: String,
}

#[test]
fn bleu_and_chrf_equal_sacrebleus() {
    let cases = load::<BleuCase>(include_str!("../fixtures/bleu.json"));
    assert!(cases.len() >= 200);
    for (number, case) in cases.iter().enumerate() {
        let tokens = BleuTokens::Mteval13a.divide(&case.pairs[0].1).join(" ");
        assert_eq!(tokens, case.tokens, "case {number}");
        let repeated = |text: &String| text.repeat(case.times);
        let pairs: Vec<(String, String)> = case
            .pairs
            .iter()
            .map(|(a, b)| (repeated(a), repeated(b)))
            .collect();
        let pairs = || {
            pairs
                .iter()
                .map(|(reference, text)| (&**reference, &**text))
        };
        let bleu = Bleu::of(pairs(), BleuTokens::Mteval13a).unwrap();
        assert_near(
            bleu.score,
            case.mteval,
            DIGITS,
            &format!("case {number}, 13a"),
        );
        for (found, expected) in bleu.precisions.iter().zip(case.precisions) {
            assert_near(
                *found,
                expected,
                DIGITS,
                &format!("case {number}, precision"),
            );
        }
        let char = Bleu::of(pairs(), BleuTokens::Char).unwrap().score;
        assert_near(char, case.char, DIGITS, &format!("case {number}, char"));
        assert_near(
            chrf(pairs()).unwrap(),
            case.chrf,
            DIGITS,
            &format!("case {number}, chrF"),
        );
    }
}

#[test]
fn normalised_texts_equal_those_of_the_scripts() {
    let cases = load::<[String; 3]>(include_str!("../fixtures/normalised.json"));
    assert!(cases.len() >= 200);
    for [text, plain, squad] in &cases {
        assert_eq!(&Normalisation::Plain.apply(text), plain, "{text:?}");
        assert_eq!(&Normalisation::Squad.apply(text), squad, "{text:?}");
    }
}

#[test]
fn the_bag_of_words_finds_scikit_learns_optimum() {
    #[derive(Deserialize)]
    struct Case {
        train: Vec<(String, usize)>,
        test: Vec<String>,
        probabilities: Vec<Vec<f32>>,
    }
    for case in load::<Case>(include_str!("../fixtures/bag_of_words.json")) {
        let train: Vec<(&str, usize)> = case
            .train
            .iter()
            .map(|(text, class)| (&**text, *class))
            .collect();
        let test: Vec<&str> = case.test.iter().map(|text| &**text).collect();
        let classes = case.probabilities[0].len();
        let found = bag_of_words(&train, &test, classes);
        for (found, expected) in found.iter().zip(case.probabilities.concat()) {
            assert!((found - expected).abs() < 1e-4, "{found}, not {expected}");
        }
    }
}
