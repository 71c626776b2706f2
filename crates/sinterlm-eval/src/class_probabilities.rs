//! Probabilities of classes for many rows. What is made of them, accuracies and curves, is left to
//! others.

use burn::module::ModuleDisplay;
use burn::tensor::activation::softmax;
use sinterlm_model::{CausalLm, ForwardCtx, PrefixCache, Reading, WithHead};

/// The probability of each class for each row, row-major `[rows, classes]` in the order of `rows`: the
/// softmax of the head's scores. `model` without autodiff.
///
/// Rows of like length are read together, so that little is padded.
///
/// # Panics
/// If a row has no token or more than the model reads.
pub fn class_probabilities<M: CausalLm + ModuleDisplay, R: AsRef<[u32]>>(
    model: &WithHead<M>,
    rows: &[R],
    reading: &Reading,
    ctx: &ForwardCtx,
) -> Vec<f32> {
    class_probabilities_behind(model, rows, None, reading, ctx)
}

/// [`class_probabilities`] from what a cache of [`Reading::cached_rows`] holds of the rows, where there
/// is one.
///
/// # Panics
/// As [`class_probabilities`], and if the cache is of other rows.
pub fn class_probabilities_behind<M: CausalLm + ModuleDisplay, R: AsRef<[u32]>>(
    model: &WithHead<M>,
    rows: &[R],
    prefix: Option<&PrefixCache>,
    reading: &Reading,
    ctx: &ForwardCtx,
) -> Vec<f32> {
    let [classes, _] = model.score.weight.dims();
    let device = model.score.weight.device();
    let mut probabilities = vec![0.0; rows.len() * classes];
    for batch in reading.batches(rows) {
        let ids: Vec<&[u32]> = batch.iter().map(|&row| rows[row].as_ref()).collect();
        assert!(!ids[0].is_empty(), "row {} has no token", batch[0]);
        let mut tokens = reading.batch(&ids, &device);
        if let Some(cache) = prefix {
            tokens = reading.with_prefix(tokens, cache, &batch);
        }
        let scores = model.scores(&tokens, reading.pool, ctx);
        let found = softmax(scores, 1).into_data().convert::<f32>();
        let found = found.as_slice::<f32>().expect("just converted to f32");
        for (&row, found) in batch.iter().zip(found.chunks_exact(classes)) {
            probabilities[row * classes..][..classes].copy_from_slice(found);
        }
    }
    probabilities
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use sinterlm_config::Seed;
    use sinterlm_model::{GptConfig, Pool};

    use super::*;

    #[test]
    fn rows_keep_their_order_and_each_has_what_it_has_alone() {
        let config = GptConfig {
            vocab_size: 50,
            max_seq_len: 2048,
            d_model: 16,
            n_layers: 2,
            n_heads: 2,
            ..GptConfig::default()
        };
        let device = Device::flex();
        let model = WithHead::init(config.init(Seed(1), &device), 3, Seed(2), &device);
        // Too many tokens for one batch, and lengths that go up and down.
        let rows: Vec<Vec<u32>> = [7, 1500, 3, 12, 2000, 1, 1900]
            .map(|len| (0..len).map(|at| (at * at + len) % 50).collect())
            .to_vec();
        for pool in [Pool::Last, Pool::Mean] {
            let reading = Reading {
                pool,
                ..Reading::default()
            };
            let ctx = ForwardCtx::default();
            let of = |rows: &[Vec<u32>]| class_probabilities(&model, rows, &reading, &ctx);
            let together = of(&rows);
            assert_eq!(together.len(), 3 * rows.len());
            for (row, found) in rows.iter().zip(together.chunks(3)) {
                assert!((found.iter().sum::<f32>() - 1.0).abs() < 1e-6);
                let alone = of(std::slice::from_ref(row));
                for (found, alone) in found.iter().zip(alone) {
                    assert!((found - alone).abs() < 1e-6, "{found} and {alone}");
                }
            }
            assert!(together[..3] != together[3..6]);
            assert_eq!(of(&[]), [0.0; 0]);
        }
    }
}
