//! Measures of generated texts that need no reference: do they end, vary, repeat themselves.

use std::collections::HashSet;
use std::hash::Hash;

use serde::{Deserialize, Serialize};

use crate::mean::mean;
use crate::ngrams::words;

/// Length of the runs of tokens by which repetition is measured, as in Welleck et al. 2020.
const REPEAT: usize = 4;

/// One generated text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generated<'a> {
    /// The text.
    pub text: &'a str,
    /// The tokens that were generated, without the one that ended it.
    pub ids: &'a [u32],
    /// Whether the model ended it, not the limit of length.
    pub ended_by_eos: bool,
}

/// Figures of a set of generated texts; one that cannot be measured is `None` and absent when written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GenerationReport {
    /// Texts.
    pub count: u64,
    /// Share of texts that the model ended itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_by_eos: Option<f64>,
    /// Share of texts of nothing but white space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_rate: Option<f64>,
    /// Different words by words of all texts together, Li et al. 2016. It falls with the amount of
    /// text: only sets of about equal size compare.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distinct_1: Option<f64>,
    /// Different pairs of neighbouring words by such pairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distinct_2: Option<f64>,
    /// As `distinct_1`, of tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distinct_1_tokens: Option<f64>,
    /// As `distinct_2`, of tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distinct_2_tokens: Option<f64>,
    /// Share of runs of four tokens that the same text already had, mean over the texts that have
    /// such runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition: Option<f64>,
    /// The longest run of tokens that one text holds twice, overlaps included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_repeat: Option<u64>,
    /// Mean length in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_words: Option<f64>,
    /// Mean length in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_tokens: Option<f64>,
}

impl GenerationReport {
    /// Measures texts; words are divided by white space and compared as they stand.
    ///
    /// The search for the longest repeat takes a time that grows with the square of a text's tokens.
    ///
    /// ```
    /// use sinterlm_eval::{Generated, GenerationReport};
    /// let text = Generated { text: "no no no", ids: &[5, 5, 5], ended_by_eos: true };
    /// let report = GenerationReport::of(&[text]);
    /// assert_eq!((report.distinct_2, report.longest_repeat), (Some(0.5), Some(2)));
    /// ```
    pub fn of(texts: &[Generated<'_>]) -> Self {
        let all_words: Vec<Vec<&str>> = texts.iter().map(|one| words(one.text).collect()).collect();
        let all_words: Vec<&[&str]> = all_words.iter().map(Vec::as_slice).collect();
        let all_ids: Vec<&[u32]> = texts.iter().map(|one| one.ids).collect();
        let share = |wanted: fn(&Generated<'_>) -> bool| {
            mean(texts.iter().map(|one| f64::from(u8::from(wanted(one)))))
        };
        Self {
            count: texts.len() as u64,
            ended_by_eos: share(|one| one.ended_by_eos),
            empty_rate: share(|one| words(one.text).next().is_none()),
            distinct_1: distinct(&all_words, 1),
            distinct_2: distinct(&all_words, 2),
            distinct_1_tokens: distinct(&all_ids, 1),
            distinct_2_tokens: distinct(&all_ids, 2),
            repetition: mean(
                all_ids
                    .iter()
                    .filter_map(|&ids| Some(1.0 - distinct(&[ids], REPEAT)?)),
            ),
            longest_repeat: all_ids.iter().map(|ids| longest_repeat(ids)).max(),
            mean_words: mean(all_words.iter().map(|words| words.len() as f64)),
            mean_tokens: mean(all_ids.iter().map(|ids| ids.len() as f64)),
        }
    }
}

/// Different runs of `n` items by all such runs; `None` where there are none.
fn distinct<T: Eq + Hash>(texts: &[&[T]], n: usize) -> Option<f64> {
    let mut seen: HashSet<&[T]> = HashSet::new();
    let mut total = 0_u64;
    for run in texts.iter().flat_map(|text| text.windows(n)) {
        seen.insert(run);
        total += 1;
    }
    (total > 0).then(|| seen.len() as f64 / total as f64)
}

/// Longest run that occurs at two places: along each distance, the longest run of equal tokens.
fn longest_repeat(ids: &[u32]) -> u64 {
    let mut longest = 0;
    for distance in 1..ids.len() {
        if ids.len() - distance <= longest {
            break; // the rest is too short for a longer one
        }
        let mut run = 0;
        for (a, b) in ids.iter().zip(&ids[distance..]) {
            run = if a == b { run + 1 } else { 0 };
            longest = longest.max(run);
        }
    }
    longest as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'a>(text: &'a str, ids: &'a [u32]) -> Generated<'a> {
        Generated {
            text,
            ids,
            ended_by_eos: false,
        }
    }

    #[test]
    fn variety_counts_over_all_texts_and_repetition_within_each() {
        let same = [1, 2, 3, 4];
        let report = GenerationReport::of(&[text("a b c d", &same), text("a b c d", &same)]);
        assert_eq!(report.distinct_1, Some(0.5));
        assert_eq!(report.distinct_2_tokens, Some(0.5));
        assert_eq!(
            (report.repetition, report.longest_repeat),
            (Some(0.0), Some(0))
        );
    }

    #[test]
    fn a_loop_shows_as_repetition() {
        let looping = [9, 1, 2, 1, 2, 1, 2, 1, 2, 7];
        let report = GenerationReport::of(&[text("", &looping), text("", &[1, 2])]);
        assert_eq!(report.longest_repeat, Some(6));
        assert!((report.repetition.unwrap() - 3.0 / 7.0).abs() < 1e-12);
    }

    #[test]
    fn empty_texts_are_counted_and_have_no_variety() {
        let report = GenerationReport::of(&[text(" \n", &[]), text("", &[])]);
        assert_eq!(
            (report.empty_rate, report.mean_tokens),
            (Some(1.0), Some(0.0))
        );
        assert_eq!((report.distinct_1, report.repetition), (None, None));
    }

    #[test]
    fn without_texts_only_the_count_is_written() {
        let report = serde_json::to_string(&GenerationReport::of(&[])).unwrap();
        assert_eq!(report, r#"{"count":0}"#);
    }
}
