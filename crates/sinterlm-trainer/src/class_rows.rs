//! Rows of tokens with a class each: what a classifier learns from. Their order and their loss are
//! the objective's.

use sinterlm_model::{PrefixCache, Reading};

use crate::error::TrainError;

/// A text as token ids, and its class.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassRow {
    /// Ids of the text, without padding.
    pub ids: Vec<u32>,
    /// Number of the class.
    pub class: u32,
    /// Weight in the loss, 1 by default; 0 leaves the row out of it.
    pub weight: f32,
}

impl AsRef<[u32]> for ClassRow {
    fn as_ref(&self) -> &[u32] {
        &self.ids
    }
}

/// Checked rows, at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassRows {
    pub(crate) rows: Vec<ClassRow>,
    pub(crate) classes: usize,
    pub(crate) reading: Reading,
    /// Tokens of the longest row, or the columns that rows are padded to where these are more.
    pub(crate) longest: usize,
}

impl ClassRows {
    /// Rows of `classes` classes, which are padded and read as `reading` says.
    ///
    /// # Errors
    /// [`TrainError::ClassRows`] where there is no row, and for one without a token, of an unknown class, or
    /// of a weight that is negative or not finite.
    pub fn new(rows: Vec<ClassRow>, classes: usize, reading: Reading) -> Result<Self, TrainError> {
        if rows.is_empty() {
            return Err(fault("there are none; give labelled texts"));
        }
        for (number, row) in rows.iter().enumerate() {
            let class = row.class;
            if row.ids.is_empty() {
                return Err(fault(format!(
                    "row {number} has no token; drop empty texts"
                )));
            }
            if class as usize >= classes {
                return Err(fault(format!(
                    "row {number} is of class {class}, and the {classes} classes are numbered from 0; \
                     name all labels before rows are made"
                )));
            }
            check_weight(row.weight, || format!("the weight of row {number}"))?;
        }
        let lengths = rows.iter().map(|row| row.ids.len());
        let longest = lengths.fold(reading.min_seq, usize::max);
        Ok(Self {
            rows,
            classes,
            reading,
            longest,
        })
    }

    /// The rows with their weights multiplied by those of their classes.
    ///
    /// # Errors
    /// [`TrainError::ClassRows`] where there is not one weight for each class, or one is negative or not finite.
    pub fn with_class_weights(mut self, weights: &[f32]) -> Result<Self, TrainError> {
        if weights.len() != self.classes {
            let (given, classes) = (weights.len(), self.classes);
            return Err(fault(format!(
                "{given} class weights for {classes} classes"
            )));
        }
        for (class, weight) in weights.iter().enumerate() {
            check_weight(*weight, || format!("the weight of class {class}"))?;
        }
        for row in &mut self.rows {
            row.weight *= weights[row.class as usize];
        }
        Ok(self)
    }

    /// The rows as a [`PrefixCache`] has to hold them.
    pub fn cached_rows(&self) -> Vec<Vec<u32>> {
        self.reading.cached_rows(&self.rows)
    }

    /// Refuses a cache whose rows are not as long as these.
    pub(crate) fn check_cache(&self, cache: &PrefixCache) -> Result<(), TrainError> {
        let rows = self.cached_rows();
        let is_of_them = cache.rows() == rows.len()
            && (rows.iter().enumerate()).all(|(row, ids)| cache.row_tokens(row) == ids.len());
        if is_of_them {
            return Ok(());
        }
        Err(fault(
            "the cache of activations is of other ones; make it of `ClassRows::cached_rows`",
        ))
    }

    /// Weights that make all classes count alike, `rows / (classes · rows of the class)`; 0 for a class
    /// without a row.
    pub fn balancing_weights(&self) -> Vec<f32> {
        let mut counts = vec![0.0f64; self.classes];
        for row in &self.rows {
            counts[row.class as usize] += 1.0;
        }
        let even = self.rows.len() as f64 / self.classes as f64;
        let weight = |count: f64| if count > 0.0 { even / count } else { 0.0 };
        counts
            .into_iter()
            .map(|count| weight(count) as f32)
            .collect()
    }
}

fn check_weight(weight: f32, what: impl FnOnce() -> String) -> Result<(), TrainError> {
    if weight >= 0.0 && weight.is_finite() {
        return Ok(());
    }
    let what = what();
    Err(fault(format!(
        "{what} is {weight}; use a number of 0 or more"
    )))
}

fn fault(fault: impl Into<String>) -> TrainError {
    TrainError::ClassRows(fault.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ids: &[u32], class: u32, weight: f32) -> ClassRow {
        ClassRow {
            ids: ids.to_vec(),
            class,
            weight,
        }
    }

    fn rows(rows: Vec<ClassRow>) -> Result<ClassRows, TrainError> {
        ClassRows::new(rows, 2, Reading::default())
    }

    #[test]
    fn rows_that_cannot_be_trained_on_are_named() {
        let error = |given: Vec<ClassRow>| rows(given).unwrap_err().to_string();
        assert!(error(Vec::new()).contains("there are none"));
        let good = row(&[1], 1, 1.0);
        let of = |bad: ClassRow| error(vec![good.clone(), bad]);
        assert!(of(row(&[], 0, 1.0)).contains("row 1 has no token"));
        assert!(of(row(&[1], 2, 1.0)).contains("row 1 is of class 2"));
        assert!(of(row(&[1], 0, -1.0)).contains("the weight of row 1 is -1"));
        assert!(of(row(&[1], 0, f32::NAN)).contains("the weight of row 1 is NaN"));
    }

    #[test]
    fn balancing_weights_make_classes_count_alike() {
        let all = vec![
            row(&[1], 0, 1.0),
            row(&[1, 2], 0, 1.0),
            row(&[3], 0, 2.0),
            row(&[4], 1, 1.0),
        ];
        let all = rows(all).unwrap();
        let weights = all.balancing_weights();
        assert_eq!(weights, [4.0 / 6.0, 2.0]);
        assert!(all.clone().with_class_weights(&[1.0]).is_err());
        assert!(
            all.clone()
                .with_class_weights(&[1.0, f32::INFINITY])
                .is_err()
        );
        let weighted = all.with_class_weights(&[0.5, 2.0]).unwrap();
        let weights: Vec<f32> = weighted.rows.iter().map(|row| row.weight).collect();
        assert_eq!(weights, [0.5, 0.5, 1.0, 2.0]);
    }
}
