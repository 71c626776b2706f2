//! Logistic regression on sparse rows, solved by L-BFGS.

use std::collections::VecDeque;

/// A row's features that are not zero: their numbers, rising, and values.
pub(crate) type SparseRow = Vec<(usize, f64)>;

/// Steps that L-BFGS remembers.
const MEMORY: usize = 10;
/// Far above what the penalty's curvature lets it take.
const MAX_STEPS: usize = 500;
/// Of the gradient's largest part at the start; probabilities are then right to about five digits.
const TOLERANCE: f64 = 1e-6;

/// Weights `[classes, features + 1]`, the last of a class its bias; classes without rows are left out.
pub(crate) struct Logistic {
    weights: Vec<f64>,
    present: Vec<bool>,
}

/// What is minimised: `C · Σ w_class · (−ln p_class) + ½ ‖weights‖²`, biases free, with weights
/// under which each class counts as much as another and the mean row 1.
struct Problem<'a> {
    rows: &'a [SparseRow],
    labels: &'a [usize],
    class_weights: Vec<f64>,
    width: usize,
    c: f64,
}

impl Logistic {
    pub(crate) fn fit(
        rows: &[SparseRow],
        labels: &[usize],
        classes: usize,
        features: usize,
        c: f64,
    ) -> Self {
        let mut counts = vec![0_u64; classes];
        for &class in labels {
            counts[class] += 1;
        }
        let present: Vec<bool> = counts.iter().map(|&count| count > 0).collect();
        let kinds = present.iter().filter(|present| **present).count() as f64;
        let weight = |&count: &u64| {
            // Of a class that is left out it is never used.
            rows.len() as f64 / (kinds * count.max(1) as f64)
        };
        let problem = Problem {
            rows,
            labels,
            class_weights: counts.iter().map(weight).collect(),
            width: features + 1,
            c,
        };
        let mut model = Self {
            weights: vec![0.0; classes * problem.width],
            present,
        };
        model.minimise(&problem);
        model
    }

    /// Probabilities of the classes of a row.
    pub(crate) fn probabilities(&self, row: &SparseRow) -> Vec<f64> {
        let width = self.weights.len() / self.present.len();
        let mut scores: Vec<f64> = self
            .weights
            .chunks_exact(width)
            .zip(&self.present)
            .map(|(weights, &present)| {
                let score = row
                    .iter()
                    .map(|&(feature, value)| weights[feature] * value)
                    .sum::<f64>();
                if present {
                    score + weights[width - 1]
                } else {
                    f64::NEG_INFINITY
                }
            })
            .collect();
        let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        for score in &mut scores {
            *score = (*score - greatest).exp();
        }
        let sum: f64 = scores.iter().sum();
        for score in &mut scores {
            *score /= sum;
        }
        scores
    }

    /// Nocedal and Wright 2006, algorithm 7.5, with steps halved until the value falls enough.
    fn minimise(&mut self, problem: &Problem<'_>) {
        let (mut value, mut gradient) = self.evaluate(problem);
        let goal = TOLERANCE * largest(&gradient);
        let mut history: VecDeque<(Vec<f64>, Vec<f64>)> = VecDeque::new(); // steps and gradients' changes
        for _ in 0..MAX_STEPS {
            if largest(&gradient) <= goal {
                break;
            }
            let direction = direction(&gradient, &history);
            let slope = dot(&gradient, &direction);
            let start = self.weights.clone();
            // The first direction is the gradient itself, whose length says nothing about the step.
            let mut step = if history.is_empty() {
                1.0 / dot(&gradient, &gradient).sqrt()
            } else {
                1.0
            };
            let (new_value, new_gradient) = loop {
                for ((weight, start), direction) in
                    self.weights.iter_mut().zip(&start).zip(&direction)
                {
                    *weight = start + step * direction;
                }
                let (new_value, new_gradient) = self.evaluate(problem);
                if new_value <= value + 1e-4 * step * slope {
                    break (new_value, new_gradient);
                }
                step /= 2.0;
                if step < 1e-12 {
                    self.weights = start; // as far down as rounding lets it go
                    return;
                }
            };
            let moved: Vec<f64> = direction.iter().map(|part| step * part).collect();
            let change: Vec<f64> = new_gradient
                .iter()
                .zip(&gradient)
                .map(|(new, old)| new - old)
                .collect();
            if dot(&moved, &change) > 0.0 {
                if history.len() == MEMORY {
                    history.pop_front();
                }
                history.push_back((moved, change));
            }
            (value, gradient) = (new_value, new_gradient);
        }
    }

    /// The value minimised and its gradient.
    fn evaluate(&self, problem: &Problem<'_>) -> (f64, Vec<f64>) {
        let width = problem.width;
        let mut gradient = self.weights.clone();
        gradient
            .iter_mut()
            .skip(width - 1)
            .step_by(width)
            .for_each(|bias| *bias = 0.0);
        let mut value = 0.5 * dot(&gradient, &gradient);
        for (row, &class) in problem.rows.iter().zip(problem.labels) {
            let weight = problem.c * problem.class_weights[class];
            let probabilities = self.probabilities(row);
            value -= weight * probabilities[class].max(f64::MIN_POSITIVE).ln();
            for (other, probability) in probabilities.iter().enumerate() {
                let error = weight * (probability - f64::from(u8::from(other == class)));
                let gradient = &mut gradient[other * width..][..width];
                for &(feature, value) in row {
                    gradient[feature] += error * value;
                }
                gradient[width - 1] += error;
            }
        }
        (value, gradient)
    }
}

/// Where to go from the gradient and the steps so far, by the two loops of algorithm 7.4.
fn direction(gradient: &[f64], history: &VecDeque<(Vec<f64>, Vec<f64>)>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|part| -part).collect();
    let mut shares = Vec::with_capacity(history.len());
    for (moved, change) in history.iter().rev() {
        let share = dot(moved, &direction) / dot(moved, change);
        add(&mut direction, -share, change);
        shares.push(share);
    }
    if let Some((moved, change)) = history.back() {
        let scale = dot(moved, change) / dot(change, change);
        for part in &mut direction {
            *part *= scale;
        }
    }
    for ((moved, change), share) in history.iter().zip(shares.iter().rev()) {
        let other = dot(change, &direction) / dot(moved, change);
        add(&mut direction, share - other, moved);
    }
    direction
}

fn add(to: &mut [f64], factor: f64, what: &[f64]) {
    to.iter_mut()
        .zip(what)
        .for_each(|(to, what)| *to += factor * what);
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn largest(values: &[f64]) -> f64 {
    values
        .iter()
        .fold(0.0, |largest, value| value.abs().max(largest))
}
