//! What a classifier is measured by: on validation records during the run, on test records at its end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use sinterlm_eval::{ClassReport, Interval, Threshold, bag_of_words, class_probabilities_behind};
use sinterlm_model::{ForwardCtx, Gpt, Precision, PrefixCache, Reading, WithHead};
use sinterlm_run::{EvalRecord, Section, Summary};
use sinterlm_trainer::{ClassRow, Evaluate, Scope};

use crate::parts::{Results, Summarise};

/// Test records that the report shows of those classified wrongly.
const EXAMPLES: usize = 12;

/// Records with their rows.
pub(super) struct Labelled {
    pub rows: Vec<ClassRow>,
    pub texts: Vec<String>,
    pub origins: Vec<String>,
}

impl Labelled {
    fn truth(&self) -> Vec<usize> {
        self.rows.iter().map(|row| row.class as usize).collect()
    }
}

/// What is scored, and how.
pub(super) struct ClassScoring {
    pub labels: Vec<String>,
    pub reading: Reading,
    pub valid: Labelled,
    /// What frozen blocks make of the validation rows.
    pub valid_prefix: Option<Arc<PrefixCache>>,
    pub test: Labelled,
    /// For the bag of words; empty without it.
    pub train_texts: Vec<String>,
    pub train_classes: Vec<usize>,
    pub precision: Precision,
    /// Most validation rows scored during the run; 0 = all.
    pub max_rows: usize,
    pub choose_threshold: bool,
    /// The threshold of the last full evaluation, which is saved with the model.
    pub threshold: Arc<Mutex<Option<f32>>>,
}

/// The figures of the end.
struct Last {
    valid: ClassReport,
    /// Each record with its probabilities, a line each, of validation and test.
    items: [Vec<u8>; 2],
    test: Option<ClassReport>,
    words: Option<ClassReport>,
    mistakes: Vec<Vec<String>>,
}

type Hooks = (Evaluate<'static, WithHead<Gpt>>, Summarise<'static>);

impl ClassScoring {
    /// Names of the figures.
    pub(super) fn metrics(&self) -> Vec<String> {
        let splits = [("valid", &self.valid), ("test", &self.test)];
        let there = splits
            .into_iter()
            .filter(|(_, records)| !records.rows.is_empty());
        there
            .flat_map(|(split, _)| {
                let mut names = vec!["loss", "accuracy", "balanced_accuracy", "macro_f1"];
                if self.labels.len() == 2 {
                    names.push("roc_auc");
                }
                names.into_iter().map(move |name| format!("{split}/{name}"))
            })
            .collect()
    }

    /// The hook that scores, and the one that tells of its last figures.
    pub(super) fn hooks(self) -> Hooks {
        let results: Arc<Mutex<Option<Last>>> = Arc::default();
        let kept = Arc::clone(&results);
        let labels = self.labels.clone();
        let evaluate = Box::new(move |model: &WithHead<Gpt>, scope: Scope| {
            let (figures, last) = self.score(model, scope);
            if let Some(last) = last {
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
            }
            Ok(figures)
        });
        let summarise = Box::new(move |_: &EvalRecord, summary: &mut Summary| {
            let results = results
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            results.map_or_else(Results::default, |last| last.tell(&labels, summary))
        });
        (evaluate, summarise)
    }

    fn score(&self, model: &WithHead<Gpt>, scope: Scope) -> (Vec<(String, f64)>, Option<Last>) {
        let ctx = ForwardCtx::evaluation(self.precision);
        let probabilities = |rows: &[ClassRow], prefix: Option<&PrefixCache>| {
            class_probabilities_behind(model, rows, prefix, &self.reading, &ctx)
        };
        let most = match (scope, self.max_rows) {
            (Scope::Final, _) | (_, 0) => self.valid.rows.len(),
            (Scope::During, most) => most.min(self.valid.rows.len()),
        };
        let truth = &self.valid.truth()[..most];
        let found = probabilities(&self.valid.rows[..most], self.valid_prefix.as_deref());
        let valid = ClassReport::of(&self.labels, truth, &found);
        let mut figures = Vec::new();
        if most > 0 {
            figures.extend(named("valid", &valid));
        }
        if scope == Scope::During {
            return (figures, None);
        }
        let threshold = self.threshold_of(truth, &found);
        *self
            .threshold
            .lock()
            .unwrap_or_else(PoisonError::into_inner) =
            threshold.map(|threshold| threshold.value as f32);
        let report = |truth: &[usize], found: &[f32], threshold: Option<Threshold>| match threshold
        {
            Some(threshold) => ClassReport::at(threshold, &self.labels, truth, found),
            None => ClassReport::of(&self.labels, truth, found),
        };
        let mut results = Last {
            items: [self.items(&self.valid, &found), Vec::new()],
            valid,
            test: None,
            words: None,
            mistakes: Vec::new(),
        };
        if !self.test.rows.is_empty() {
            let truth = self.test.truth();
            let found = probabilities(&self.test.rows, None);
            let test = report(&truth, &found, threshold);
            figures.extend(named("test", &test));
            results.items[1] = self.items(&self.test, &found);
            results.mistakes = self.mistakes(&truth, &found, threshold);
            results.test = Some(test);
            results.words = self
                .words(&truth)
                .map(|(found, threshold)| report(&truth, &found, threshold));
        }
        (figures, Some(results))
    }

    /// The records with their probabilities, as JSON, a line each.
    fn items(&self, records: &Labelled, probabilities: &[f32]) -> Vec<u8> {
        let mut lines = Vec::new();
        let rows = probabilities.chunks_exact(self.labels.len());
        for (at, row) in rows.enumerate() {
            let probabilities: BTreeMap<&String, f32> =
                self.labels.iter().zip(row.iter().copied()).collect();
            let item = json!({
                "text": records.texts[at],
                "label": self.labels[records.rows[at].class as usize],
                "probabilities": probabilities,
                "from": records.origins[at],
            });
            lines.extend(format!("{item}\n").into_bytes());
        }
        lines
    }

    fn threshold_of(&self, truth: &[usize], probabilities: &[f32]) -> Option<Threshold> {
        if !self.choose_threshold || self.labels.len() != 2 {
            return None;
        }
        let scores: Vec<f32> = probabilities.chunks_exact(2).map(|pair| pair[1]).collect();
        Threshold::calibrated(truth, &scores)
    }

    /// What a bag of words says of the test records, with a threshold chosen as for the model.
    fn words(&self, truth: &[usize]) -> Option<(Vec<f32>, Option<Threshold>)> {
        if self.train_texts.is_empty() || truth.is_empty() {
            return None;
        }
        let train: Vec<(&str, usize)> = self
            .train_texts
            .iter()
            .map(String::as_str)
            .zip(self.train_classes.iter().copied())
            .collect();
        let both = self.test.texts.iter().chain(&self.valid.texts);
        let both: Vec<&str> = both.map(String::as_str).collect();
        let mut found = bag_of_words(&train, &both, self.labels.len());
        let valid = found.split_off(truth.len() * self.labels.len());
        let threshold = self.threshold_of(&self.valid.truth(), &valid);
        Some((found, threshold))
    }

    /// The most confident of the wrong answers.
    fn mistakes(
        &self,
        truth: &[usize],
        probabilities: &[f32],
        threshold: Option<Threshold>,
    ) -> Vec<Vec<String>> {
        let classes = self.labels.len();
        let mut wrong: Vec<(f32, usize, usize)> = probabilities
            .chunks_exact(classes)
            .enumerate()
            .filter_map(|(at, row)| {
                let said = match threshold {
                    Some(threshold) => usize::from(f64::from(row[1]) >= threshold.value),
                    None => {
                        (0..classes).fold(0, |best, c| if row[c] > row[best] { c } else { best })
                    }
                };
                (said != truth[at]).then_some((row[said], at, said))
            })
            .collect();
        wrong.sort_by(|a, b| b.0.total_cmp(&a.0));
        let shown = wrong.into_iter().take(EXAMPLES);
        shown
            .map(|(p, at, said)| {
                let text = &self.test.texts[at];
                let short: String = text.chars().take(160).collect();
                vec![
                    short,
                    self.labels[truth[at]].clone(),
                    format!("{} ({p:.3})", self.labels[said]),
                    self.test.origins[at].clone(),
                ]
            })
            .collect()
    }
}

/// A report's figures by their metric names; those that cannot be measured are left out.
fn named(split: &str, report: &ClassReport) -> Vec<(String, f64)> {
    let figures = [
        ("loss", report.log_loss),
        ("accuracy", report.accuracy),
        ("balanced_accuracy", report.balanced_accuracy),
        ("macro_f1", report.macro_f1),
        ("roc_auc", report.roc_auc),
    ];
    figures
        .into_iter()
        .filter_map(|(name, value)| Some((format!("{split}/{name}"), value?)))
        .collect()
}

impl Last {
    /// Puts the figures into the summary and into sections.
    fn tell(self, labels: &[String], summary: &mut Summary) -> Results {
        let [valid, test] = self.items;
        let named = [("valid.jsonl", valid), ("test.jsonl", test)];
        let named = named.into_iter().filter(|(_, lines)| !lines.is_empty());
        let files = named
            .map(|(name, lines)| (name.to_owned(), lines))
            .collect();
        let Some(test) = self.test else {
            let sections = vec![report_section("Validation", &self.valid)];
            return Results { sections, files };
        };
        let mut value = json!(test);
        if let Some(words) = &self.words {
            value["bag_of_words"] = json!({
                "accuracy": words.accuracy,
                "balanced_accuracy": words.balanced_accuracy,
                "macro_f1": words.macro_f1,
            });
        }
        value["labels"] = json!(labels);
        if let Some(interval) = accuracy_interval(&test) {
            value["accuracy_low"] = interval.low.into();
            value["accuracy_high"] = interval.high.into();
        }
        summary.test = Some(without_nulls(value));
        let mut sections = vec![comparison(&test, self.words.as_ref())];
        sections.push(report_section("Test: classes", &test));
        sections.push(confusion(labels, &test));
        if !self.mistakes.is_empty() {
            let columns = ["text", "label", "predicted", "from"];
            sections.push(Section {
                title: "Test: mistakes".to_owned(),
                text: "The most confident ones.".to_owned(),
                columns: columns.map(str::to_owned).to_vec(),
                rows: self.mistakes,
            });
        }
        Results { sections, files }
    }
}

fn accuracy_interval(report: &ClassReport) -> Option<Interval> {
    let hits = (0..report.confusion.len()).map(|class| report.confusion[class][class]);
    Interval::wilson(hits.sum(), report.count)
}

fn without_nulls(mut value: Value) -> Value {
    if let Value::Object(map) = &mut value {
        map.retain(|_, value| !value.is_null());
    }
    value
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{:.2} %", 100.0 * value))
}

/// A figure of a report, where it can be measured.
type Figure = fn(&ClassReport) -> Option<f64>;

fn comparison(test: &ClassReport, words: Option<&ClassReport>) -> Section {
    let mut columns = vec!["figure".to_owned(), "model".to_owned()];
    columns.extend(words.map(|_| "bag of words".to_owned()));
    let figures: [(&str, Figure); 6] = [
        ("accuracy", |r| r.accuracy),
        ("balanced accuracy", |r| r.balanced_accuracy),
        ("macro F1", |r| r.macro_f1),
        ("ROC AUC", |r| r.roc_auc),
        ("calibration error", |r| r.calibration_error),
        ("Brier score", |r| r.brier),
    ];
    let rows = figures.iter().map(|(name, figure)| {
        let mut row = vec![(*name).to_owned(), percent(figure(test))];
        row.extend(words.map(|words| percent(figure(words))));
        row
    });
    let interval = accuracy_interval(test).map_or_else(String::new, |interval| {
        let (low, high) = (100.0 * interval.low, 100.0 * interval.high);
        format!(" Accuracy lies between {low:.2} and {high:.2} % (Wilson, 95 %).")
    });
    let threshold = test.threshold.map_or_else(String::new, |value| {
        format!(" Threshold of the second class, chosen on validation records: {value:.4}.")
    });
    Section {
        title: "Test".to_owned(),
        text: format!(
            "{} records that neither training nor any choice has seen.{interval}{threshold}",
            test.count
        ),
        columns,
        rows: rows.collect(),
    }
}

fn report_section(title: &str, report: &ClassReport) -> Section {
    let rows = report.classes.iter().map(|class| {
        vec![
            class.label.clone(),
            class.support.to_string(),
            percent(class.precision),
            percent(class.recall),
            percent(class.f1),
        ]
    });
    let columns = ["class", "records", "precision", "recall", "F1"];
    Section {
        title: title.to_owned(),
        text: String::new(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: rows.collect(),
    }
}

fn confusion(labels: &[String], report: &ClassReport) -> Section {
    let mut columns = vec!["label \\ predicted".to_owned()];
    columns.extend(labels.iter().cloned());
    let rows = labels.iter().zip(&report.confusion).map(|(label, counts)| {
        let mut row = vec![label.clone()];
        row.extend(counts.iter().map(u64::to_string));
        row
    });
    Section {
        title: "Test: confusion".to_owned(),
        text: String::new(),
        columns,
        rows: rows.collect(),
    }
}
