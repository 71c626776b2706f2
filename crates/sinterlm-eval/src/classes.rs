//! Measures of a classifier from its probabilities on labelled items.
//! Choosing a threshold on another set belongs to `threshold`.

use serde::{Deserialize, Serialize};

use crate::Threshold;
use crate::mean::mean;

/// Bins of the calibration error, as in Guo et al. 2017.
const BINS: usize = 15;

/// All figures of a classifier on one set of items.
///
/// A figure that cannot be measured is `None` and absent when written: each of them where there
/// are no items, or where a probability is not finite.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClassReport {
    /// Items.
    pub count: u64,
    /// Items with a probability that is not finite; where there is one, nothing else is measured.
    #[serde(skip_serializing_if = "is_zero")]
    pub not_finite: u64,
    /// Share of items whose class is predicted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Mean recall of the classes that have items; the others are left out, as scikit-learn does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balanced_accuracy: Option<f64>,
    /// Mean F1 of the classes that have items or are predicted, as in scikit-learn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub macro_f1: Option<f64>,
    /// Items by true class (rows) and predicted class (columns).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub confusion: Vec<Vec<u64>>,
    /// Figures of each class, in the order of the labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassFigures>,
    /// Two classes: the probability of class 1 from which it is predicted; `None` where the most
    /// probable class is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Two classes, both with items: the probability that an item of class 1 scores higher than
    /// one of class 0, ties counting half.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roc_auc: Option<f64>,
    /// Expected calibration error of the most probable class: over 15 bins of equal width
    /// `(low, high]`, the mean of `|accuracy − mean probability|`, weighted by items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration_error: Option<f64>,
    /// Brier score: mean squared error of the probability of class 1 for two classes; for more,
    /// the squared errors of all classes added up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brier: Option<f64>,
    /// Mean negative logarithm of the true class's probability, nats; probabilities are clipped
    /// to `2⁻²³` and `1 − 2⁻²³`, as scikit-learn clips f32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_loss: Option<f64>,
}

/// Figures of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassFigures {
    /// Name of the class.
    pub label: String,
    /// Items of the class.
    pub support: u64,
    /// Share of the predictions of the class that are right; `None` where it is never predicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<f64>,
    /// Share of the items of the class that are found; `None` where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recall: Option<f64>,
    /// `2·tp / (2·tp + fp + fn)`; `None` where the class has no items and is never predicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub f1: Option<f64>,
}

impl ClassReport {
    /// Figures where the most probable class is predicted, the first of several.
    ///
    /// `labels` names the classes, `truth` holds each item's class, `probabilities` is
    /// `[items, classes]` row after row.
    ///
    /// # Panics
    /// If there are no labels, `truth` holds a class without a name, or the lengths do not agree.
    ///
    /// ```
    /// use sinterlm_eval::ClassReport;
    /// let labels = ["ham".to_owned(), "spam".to_owned()];
    /// let report = ClassReport::of(&labels, &[0, 0, 1], &[0.9, 0.1, 0.4, 0.6, 0.2, 0.8]);
    /// assert_eq!(report.balanced_accuracy, Some(0.75));
    /// assert_eq!(report.confusion, [[1, 1], [0, 1]]);
    /// ```
    pub fn of(labels: &[String], truth: &[usize], probabilities: &[f32]) -> Self {
        Self::measure(labels, truth, probabilities, None)
    }

    /// Figures of two classes where class 1 is predicted from a threshold on, chosen on other items.
    ///
    /// # Panics
    /// As [`of`](Self::of), and if there are not two labels.
    pub fn at(
        threshold: Threshold,
        labels: &[String],
        truth: &[usize],
        probabilities: &[f32],
    ) -> Self {
        assert_eq!(labels.len(), 2, "a threshold parts two classes");
        Self::measure(labels, truth, probabilities, Some(threshold.value))
    }

    fn measure(
        labels: &[String],
        truth: &[usize],
        probabilities: &[f32],
        threshold: Option<f64>,
    ) -> Self {
        let classes = labels.len();
        assert!(classes > 0, "ClassReport: a label for each class");
        assert_eq!(
            probabilities.len(),
            truth.len() * classes,
            "ClassReport: probabilities must be [items, classes]"
        );
        assert!(
            truth.iter().all(|&class| class < classes),
            "ClassReport: each true class must have a label"
        );
        let rows: Vec<&[f32]> = probabilities.chunks_exact(classes).collect();
        let not_finite = rows.iter().filter(|row| row.iter().any(|p| !p.is_finite()));
        let counted = Self {
            count: truth.len() as u64,
            not_finite: not_finite.count() as u64,
            ..Self::default()
        };
        if counted.count == 0 || counted.not_finite > 0 {
            return counted;
        }

        let mut confusion = vec![vec![0; classes]; classes];
        for (row, &class) in rows.iter().zip(truth) {
            let predicted = match threshold {
                Some(least) => usize::from(f64::from(row[1]) >= least),
                None => most_probable(row),
            };
            confusion[class][predicted] += 1;
        }
        let figures: Vec<ClassFigures> = labels
            .iter()
            .enumerate()
            .map(|(class, label)| ClassFigures::of(label, class, &confusion))
            .collect();
        let hits = (0..classes).map(|class| confusion[class][class]).sum();
        Self {
            accuracy: ratio(hits, counted.count),
            balanced_accuracy: mean(figures.iter().filter_map(|class| class.recall)),
            macro_f1: mean(figures.iter().filter_map(|class| class.f1)),
            confusion,
            classes: figures,
            threshold,
            roc_auc: (classes == 2).then(|| roc_auc(truth, &rows)).flatten(),
            calibration_error: Some(calibration_error(truth, &rows)),
            brier: (classes > 1).then(|| brier(truth, &rows)),
            log_loss: mean(truth.iter().zip(&rows).map(|(&class, row)| {
                let eps = f64::from(f32::EPSILON);
                -f64::from(row[class]).clamp(eps, 1.0 - eps).ln()
            })),
            ..counted
        }
    }
}

impl ClassFigures {
    fn of(label: &str, class: usize, confusion: &[Vec<u64>]) -> Self {
        let hits = confusion[class][class];
        let support = confusion[class].iter().sum();
        let predicted = confusion.iter().map(|row| row[class]).sum();
        Self {
            label: label.to_owned(),
            support,
            precision: ratio(hits, predicted),
            recall: ratio(hits, support),
            f1: ratio(2 * hits, support + predicted),
        }
    }
}

/// The first class of the greatest probability; all are finite.
fn most_probable(row: &[f32]) -> usize {
    (1..row.len()).fold(
        0,
        |best, class| if row[class] > row[best] { class } else { best },
    )
}

/// Mann and Whitney's statistic from mean ranks; `None` where a class has no items.
fn roc_auc(truth: &[usize], rows: &[&[f32]]) -> Option<f64> {
    let mut items: Vec<(f32, usize)> = rows
        .iter()
        .map(|row| row[1])
        .zip(truth.iter().copied())
        .collect();
    items.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut doubled_wins) = (0_u64, 0_u64); // of class 0; by items of class 1, a tie being 1
    #[expect(clippy::float_cmp, reason = "a tie is an equal score")]
    for ties in items.chunk_by(|a, b| a.0 == b.0) {
        let positives = ties.iter().map(|item| item.1 as u64).sum::<u64>();
        let negatives = ties.len() as u64 - positives;
        doubled_wins += positives * (2 * below + negatives);
        below += negatives;
    }
    ratio(doubled_wins, 2 * below * (items.len() as u64 - below))
}

fn calibration_error(truth: &[usize], rows: &[&[f32]]) -> f64 {
    let mut excess = [0.0; BINS]; // probabilities minus hits
    for (row, &class) in rows.iter().zip(truth) {
        let predicted = most_probable(row);
        let probability = f64::from(row[predicted]);
        let bin = (probability * BINS as f64).ceil() as usize;
        excess[bin.clamp(1, BINS) - 1] += probability - f64::from(u8::from(predicted == class));
    }
    excess.iter().map(|sum| sum.abs()).sum::<f64>() / rows.len() as f64
}

fn brier(truth: &[usize], rows: &[&[f32]]) -> f64 {
    let squared = |(row, &class): (&&[f32], &usize)| {
        let error = |(c, &p): (usize, &f32)| f64::from(p) - f64::from(u8::from(c == class));
        let errors = row.iter().enumerate().map(error).map(|error| error * error);
        // With two classes the second error alone, which is the first one's mirror image.
        errors.skip(usize::from(row.len() == 2)).sum::<f64>()
    };
    rows.iter().zip(truth).map(squared).sum::<f64>() / rows.len() as f64
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(count: usize) -> Vec<String> {
        (0..count).map(|class| format!("class {class}")).collect()
    }

    #[test]
    fn a_class_without_items_takes_no_part_in_balanced_accuracy() {
        let report = ClassReport::of(&labels(3), &[0, 1], &[0.75, 0.25, 0.0, 0.0, 0.25, 0.75]);
        assert_eq!(report.balanced_accuracy, Some(0.5));
        assert_eq!(report.classes[2].recall, None);
        assert_eq!(report.classes[2].precision, Some(0.0));
        assert_eq!(report.classes[1].precision, None);
    }

    #[test]
    fn without_items_only_the_count_is_written() {
        let report = ClassReport::of(&labels(2), &[], &[]);
        assert_eq!(serde_json::to_string(&report).unwrap(), r#"{"count":0}"#);
    }

    #[test]
    fn a_probability_that_is_no_number_leaves_figures_absent() {
        let report = ClassReport::of(&labels(2), &[0, 1], &[f32::NAN, f32::NAN, 0.25, 0.75]);
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"count":2,"not_finite":1}"#
        );
    }

    #[test]
    fn figures_of_one_class_alone_leave_the_area_absent() {
        let report = ClassReport::of(&labels(2), &[1, 1], &[0.25, 0.75, 0.75, 0.25]);
        assert_eq!(report.roc_auc, None);
        assert_eq!(report.accuracy, Some(0.5));
    }

    #[test]
    fn a_threshold_moves_predictions_and_not_what_probabilities_say() {
        let (truth, rows) = ([0, 1], [0.75, 0.25, 0.625, 0.375]);
        let threshold = Threshold {
            value: 0.3125,
            balanced_accuracy: 1.0,
        };
        let plain = ClassReport::of(&labels(2), &truth, &rows);
        let moved = ClassReport::at(threshold, &labels(2), &truth, &rows);
        assert_eq!((plain.accuracy, moved.accuracy), (Some(0.5), Some(1.0)));
        assert_eq!(
            (plain.log_loss, plain.roc_auc),
            (moved.log_loss, moved.roc_auc)
        );
        assert_eq!(moved.threshold, Some(0.3125));
    }

    #[test]
    fn a_written_report_reads_back() {
        let report = ClassReport::of(&labels(2), &[0, 1], &[0.75, 0.25, 0.25, 0.75]);
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<ClassReport>(&text).unwrap(), report);
    }
}
