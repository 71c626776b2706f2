//! A threshold for two classes, chosen on one set to be applied to another.

use serde::{Deserialize, Serialize};

/// The probability of class 1 from which an item counts as class 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// An item whose probability is at least this is of class 1.
    pub value: f64,
    /// Balanced accuracy at it, on the set where it was chosen: too good as a figure of the model.
    pub balanced_accuracy: f64,
}

impl Threshold {
    /// The threshold with the greatest balanced accuracy on this set.
    ///
    /// Candidates are the midpoints between neighbouring different scores, and the lowest score,
    /// from which everything is class 1. Of equally good ones the nearest to 0.5 is taken, of two
    /// equally near the lower one. Counts are compared as integers, so that rounding breaks no tie.
    ///
    /// `truth` holds 0 or 1, `scores` the probability of class 1. `None` where one of the classes
    /// is missing or a score is not finite.
    ///
    /// # Panics
    /// If the two differ in length or `truth` holds another class.
    ///
    /// ```
    /// use sinterlm_eval::Threshold;
    /// let chosen = Threshold::choose(&[0, 0, 1], &[0.125, 0.25, 0.375]).unwrap();
    /// assert_eq!(chosen.value, 0.3125);
    /// ```
    pub fn choose(truth: &[usize], scores: &[f32]) -> Option<Self> {
        assert_eq!(
            truth.len(),
            scores.len(),
            "Threshold: a score for each item"
        );
        assert!(
            truth.iter().all(|&class| class < 2),
            "Threshold: classes are 0 and 1"
        );
        let positives = truth.iter().sum::<usize>() as u128;
        let negatives = truth.len() as u128 - positives;
        if positives == 0 || negatives == 0 || scores.iter().any(|score| !score.is_finite()) {
            return None;
        }
        let mut items: Vec<(f32, usize)> =
            scores.iter().copied().zip(truth.iter().copied()).collect();
        items.sort_by(|a, b| a.0.total_cmp(&b.0));

        let mut best = (f64::from(items[0].0), positives * negatives);
        let (mut missed, mut spared) = (0, 0); // items below the threshold, by their true class
        for pair in items.windows(2) {
            missed += pair[0].1 as u128;
            spared += 1 - pair[0].1 as u128;
            let (low, high) = (f64::from(pair[0].0), f64::from(pair[1].0));
            if low < high {
                let middle = f64::midpoint(low, high);
                // Recall of both classes over a common denominator.
                let quality = (positives - missed) * negatives + spared * positives;
                let nearer = (middle - 0.5).abs() < (best.0 - 0.5).abs();
                if quality > best.1 || quality == best.1 && nearer {
                    best = (middle, quality);
                }
            }
        }
        Some(Self {
            value: best.0,
            balanced_accuracy: best.1 as f64 / (2 * positives * negatives) as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_the_gap_that_parts_the_classes_is_chosen() {
        let chosen = Threshold::choose(&[1, 0, 1, 0], &[0.75, 0.25, 1.0, 0.0]).unwrap();
        assert_eq!((chosen.value, chosen.balanced_accuracy), (0.5, 1.0));
    }

    #[test]
    fn of_equally_good_thresholds_the_nearest_to_a_half_is_chosen() {
        // 0.25 and 0.625 both give 3/4.
        let chosen = Threshold::choose(&[0, 1, 0, 1], &[0.125, 0.375, 0.5, 0.75]).unwrap();
        assert_eq!((chosen.value, chosen.balanced_accuracy), (0.625, 0.75));
        let mirrored = Threshold::choose(&[0, 1, 0, 1], &[0.25, 0.375, 0.5, 0.9375]).unwrap();
        assert_eq!((mirrored.value, mirrored.balanced_accuracy), (0.3125, 0.75));
    }

    #[test]
    fn scores_that_order_backwards_give_the_threshold_below_all() {
        let chosen = Threshold::choose(&[1, 0], &[0.25, 0.75]).unwrap();
        assert_eq!((chosen.value, chosen.balanced_accuracy), (0.25, 0.5));
    }

    #[test]
    fn one_class_or_a_score_that_is_no_number_gives_none() {
        assert_eq!(Threshold::choose(&[1, 1], &[0.25, 0.75]), None);
        assert_eq!(Threshold::choose(&[0, 1], &[0.25, f32::NAN]), None);
        assert_eq!(Threshold::choose(&[], &[]), None);
    }
}
