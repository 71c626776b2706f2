//! Classes of texts: a decoder with a head that scores each class.

use std::sync::Arc;

use burn::module::ModuleDisplay;
use burn::tensor::{Device, Int, Tensor, TensorData};
use sinterlm_config::{Permutation, Seed, Stream};
use sinterlm_losses::{Counts, CrossEntropyOptions, cross_entropy};
use sinterlm_model::{CausalLm, ForwardCtx, PrefixCache, WithHead};
use sinterlm_run::RowFacts;

use crate::class_rows::ClassRows;
use crate::config::TrainerConfig;
use crate::error::TrainError;
use crate::figures::Figures;
use crate::objective::{At, Objective};

/// Cross-entropy of the class of each row, the mean over the weights of a step's rows; reports
/// `train/accuracy`.
///
/// Each epoch visits every row once, in an order that depends on the seed and the epoch alone. Rows of
/// a step are put into its micro-batches by their length, so that little is padded. What
/// [`Counts::tokens`] counts are the rows with a weight above zero: each has one target.
#[derive(Debug)]
pub struct Classes {
    rows: ClassRows,
    prefix: Option<Arc<PrefixCache>>,
    micro_rows: usize,
    micro_batches: u64,
    seed: Seed,
    options: CrossEntropyOptions,
    is_untrained: bool,
    device: Device,
}

/// Numbers of the rows of a micro-batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassBatch(Vec<usize>);

impl Classes {
    /// Trains on `rows`, in the pieces that `config` names, on an autodiff `device`.
    pub fn new(rows: ClassRows, config: &TrainerConfig, seed: Seed, device: &Device) -> Self {
        Self {
            rows,
            prefix: None,
            micro_rows: config.micro_rows(),
            micro_batches: config.grad_accum_steps,
            seed,
            options: CrossEntropyOptions::default(),
            is_untrained: false,
            device: device.clone(),
        }
    }

    /// With a share of the target probability spread over all classes, 0 to 0.5.
    #[must_use]
    pub fn with_label_smoothing(mut self, share: f64) -> Self {
        self.options.label_smoothing = share as f32;
        self
    }

    /// Begins behind the frozen blocks, with what a cache of [`ClassRows::cached_rows`] holds of each
    /// row.
    ///
    /// # Errors
    /// [`TrainError::ClassRows`] for a cache of other rows.
    pub fn with_prefix(mut self, cache: Arc<PrefixCache>) -> Result<Self, TrainError> {
        self.rows.check_cache(&cache)?;
        self.prefix = Some(cache);
        Ok(self)
    }

    /// Says whether the head was just drawn, so that the first loss is known to lie near ln(classes).
    #[must_use]
    pub fn untrained(mut self, is_untrained: bool) -> Self {
        self.is_untrained = is_untrained;
        self
    }

    /// Numbers of a step's rows, from the shortest to the longest.
    fn rows_of(&self, step: u64) -> Vec<usize> {
        let rows_per_epoch = self.rows.rows.len() as u64;
        let rows_per_step = self.micro_batches * self.micro_rows as u64;
        let (first, end) = (step * rows_per_step, (step + 1) * rows_per_step);
        let mut numbers = Vec::with_capacity(rows_per_step as usize);
        for epoch in first / rows_per_epoch..=(end - 1) / rows_per_epoch {
            let key = self.seed.key(Stream::Order, epoch, 0, 0);
            let order = Permutation::new(key, rows_per_epoch);
            let start = epoch * rows_per_epoch;
            let within = first.max(start)..end.min(start + rows_per_epoch);
            numbers.extend(within.map(|place| order.index(place - start) as usize));
        }
        numbers.sort_by_key(|&number| self.rows.rows[number].ids.len());
        numbers
    }
}

impl<M: CausalLm + ModuleDisplay> Objective<WithHead<M>> for Classes {
    type Batch = ClassBatch;

    /// Holds the rows against the model, so that what does not fit is an error.
    fn prepare(
        &mut self,
        model: &WithHead<M>,
        _step: u64,
        _figures: &mut Figures,
        _samples: &mut crate::Samples,
    ) -> Result<(), TrainError> {
        let (longest, context) = (self.rows.longest, model.max_seq_len());
        if longest > context {
            return Err(TrainError::ClassRows(format!(
                "the longest has {longest} tokens, and the model reads {context}; truncate the texts"
            )));
        }
        let (classes, [outputs, _]) = (self.rows.classes, model.score.weight.dims());
        if classes != outputs {
            return Err(TrainError::ClassRows(format!(
                "they are of {classes} classes, and the head has {outputs} outputs"
            )));
        }
        Ok(())
    }

    fn batch(&self, at: At) -> Result<ClassBatch, TrainError> {
        let rows = self.rows_of(at.step);
        let first = at.micro as usize * self.micro_rows;
        Ok(ClassBatch(rows[first..][..self.micro_rows].to_vec()))
    }

    fn rows(&self, batch: &ClassBatch) -> Vec<RowFacts> {
        let facts = |(row, &number): (usize, &usize)| {
            let labelled = &self.rows.rows[number];
            RowFacts {
                row,
                documents: Some([number as u64; 2]),
                trained_tokens: usize::from(labelled.weight > 0.0),
                ids: labelled.ids.clone(),
                ..RowFacts::default()
            }
        };
        batch.0.iter().enumerate().map(facts).collect()
    }

    fn counts(&self, batch: &ClassBatch) -> Counts {
        let weights = batch.0.iter().map(|&number| self.rows.rows[number].weight);
        let weights = weights.map(f64::from);
        Counts {
            tokens: weights.clone().filter(|weight| *weight > 0.0).count() as f64,
            rows: weights.sum(),
            ..Counts::default()
        }
    }

    fn loss(
        &self,
        model: &WithHead<M>,
        batch: &ClassBatch,
        step: &Counts,
        ctx: &ForwardCtx,
        figures: &mut Figures,
    ) -> Tensor<1> {
        let (reading, device) = (&self.rows.reading, &self.device);
        let rows = batch.0.iter().map(|&number| &self.rows.rows[number]);
        let rows: Vec<_> = rows.collect();
        let count = rows.len();
        let classes: Vec<i32> = rows.iter().map(|row| row.class as i32).collect();
        let classes = Tensor::<1, Int>::from_data(TensorData::new(classes, [count]), device);
        let weights: Vec<f32> = rows.iter().map(|row| row.weight).collect();
        let weights = Tensor::<1>::from_data(TensorData::new(weights, [count]), device);
        let mut tokens = reading.batch(&rows, device);
        if let Some(cache) = &self.prefix {
            tokens = reading.with_prefix(tokens, cache, &batch.0);
        }
        let scores = model.scores(&tokens, reading.pool, ctx);
        let best = scores.clone().argmax(1).reshape([count]);
        let correct = best.equal(classes.clone()).float().sum();
        figures.add("train/accuracy", correct, count as f64);
        cross_entropy(scores, classes, weights, step.rows, &self.options).share_of(step.rows)
    }

    fn first_loss(&self, _model: &WithHead<M>) -> Option<f64> {
        self.is_untrained.then(|| (self.rows.classes as f64).ln())
    }

    fn epochs(&self, steps: u64) -> Option<f64> {
        let rows = steps * self.micro_batches * self.micro_rows as u64;
        Some(rows as f64 / self.rows.rows.len() as f64)
    }
}
