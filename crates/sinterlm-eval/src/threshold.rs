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

    /// The threshold at which both classes are as likely, were they as frequent: that of a logistic curve
    /// through the scores' log-odds (Platt 1999), with classes of equal weight. Where few items speak it
    /// stays near 0.5, as half an item of weight stands for the scores being right as they are. On a few
    /// dozen items of a class it varies less than [`choose`](Self::choose), whose threshold hangs on one.
    ///
    /// `None` and panics as [`choose`](Self::choose), whose threshold it is where lower scores speak for
    /// class 1.
    ///
    /// ```
    /// use sinterlm_eval::Threshold;
    /// let (truth, scores) = ([0, 0, 0, 1, 1, 1], [0.05, 0.1, 0.2, 0.6, 0.7, 0.9]);
    /// let chosen = Threshold::calibrated(&truth, &scores).unwrap();
    /// assert!(chosen.value > 0.2 && chosen.value < 0.6);
    /// assert_eq!(chosen.balanced_accuracy, 1.0);
    /// ```
    pub fn calibrated(truth: &[usize], scores: &[f32]) -> Option<Self> {
        let chosen = Self::choose(truth, scores)?;
        let count = truth.len() as f64;
        let positives = truth.iter().sum::<usize>() as f64;
        let weights = [
            count / (2.0 * (count - positives)),
            count / (2.0 * positives),
        ];
        let odds = |score: f32| {
            let score = f64::from(score).clamp(LEAST, 1.0 - LEAST);
            (score / (1.0 - score)).ln()
        };
        let items: Vec<(f64, usize)> = scores
            .iter()
            .map(|&score| odds(score))
            .zip(truth.iter().copied())
            .collect();
        // Newton's method on slope and offset; the prior pulls them to 1 and 0.
        let (mut slope, mut offset) = (1.0_f64, 0.0_f64);
        for _ in 0..100 {
            let mut gradient = [PRIOR * (slope - 1.0), PRIOR * offset];
            let (mut ss, mut so, mut oo) = (PRIOR, 0.0, PRIOR);
            for &(x, class) in &items {
                let p = 1.0 / (1.0 + (-(slope * x + offset)).exp());
                let (error, spread) = (p - class as f64, p * (1.0 - p));
                let weight = weights[class];
                gradient[0] += weight * error * x;
                gradient[1] += weight * error;
                ss += weight * spread * x * x;
                so += weight * spread * x;
                oo += weight * spread;
            }
            let det = ss * oo - so * so;
            let step = [
                (oo * gradient[0] - so * gradient[1]) / det,
                (ss * gradient[1] - so * gradient[0]) / det,
            ];
            // Far from the optimum a whole step may overshoot.
            let scale = 1.0_f64.min(2.0 / step[0].abs().max(step[1].abs()).max(1e-300));
            slope -= scale * step[0];
            offset -= scale * step[1];
            if step[0].abs() + step[1].abs() < 1e-10 {
                break;
            }
        }
        if slope <= 0.0 || !(offset / slope).is_finite() {
            return Some(chosen);
        }
        let value = 1.0 / (1.0 + (offset / slope).exp());
        let recall = |class: usize| {
            let own = scores.iter().zip(truth).filter(|(_, own)| **own == class);
            let right = own
                .clone()
                .filter(|(score, _)| (f64::from(**score) >= value) == (class == 1));
            right.count() as f64 / own.count() as f64
        };
        Some(Self {
            value,
            balanced_accuracy: f64::midpoint(recall(0), recall(1)),
        })
    }
}

/// Least distance of a probability from 0 and 1 that counts.
const LEAST: f64 = 1e-6;
/// Weight of the prior in items.
const PRIOR: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calibrated_threshold_parts_scores_that_are_shifted_and_forgets_none() {
        // Log-odds of class 0 around -1, of class 1 around 3: they meet at 1.
        let score = |odds: f32| 1.0 / (1.0 + (-odds).exp());
        let scores: Vec<f32> = (0..400)
            .map(|n| score([-1.0, 3.0][n % 2] + 2.0 * ((n / 2) as f32 / 100.0 - 1.0)))
            .collect();
        let truth: Vec<usize> = (0..400).map(|n| n % 2).collect();
        let chosen = Threshold::calibrated(&truth, &scores).unwrap();
        let odds = (chosen.value / (1.0 - chosen.value)).ln();
        assert!((odds - 1.0).abs() < 0.1, "{odds}");
        // Classes of other sizes have the same threshold.
        let some: Vec<usize> = (0..400).filter(|n| n % 2 == 1 || n % 20 == 0).collect();
        let pick = |of: &dyn Fn(usize) -> usize| some.iter().map(|n| of(*n)).collect::<Vec<_>>();
        let fewer: Vec<f32> = some.iter().map(|n| scores[*n]).collect();
        let rare = Threshold::calibrated(&pick(&|n| truth[n]), &fewer).unwrap();
        assert!(
            (rare.value - chosen.value).abs() < 0.05,
            "{rare:?} {chosen:?}"
        );
        // Scores the wrong way round, and one class only.
        let turned: Vec<usize> = truth.iter().map(|class| 1 - class).collect();
        assert_eq!(
            Threshold::calibrated(&turned, &scores),
            Threshold::choose(&turned, &scores)
        );
        assert_eq!(Threshold::calibrated(&[1, 1], &[0.1, 0.2]), None);
    }

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
