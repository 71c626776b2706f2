//! Token embedding: a gather of rows with a scatter-add backward. What the rows mean is left to
//! the model.

use burn::tensor::{Int, Tensor, module};

/// The rows of `weight` at `ids`.
///
/// The gradient is dense `[vocab, d_model]`. On flex it adds up in the order of the tokens on one
/// thread, so that the same batch gives the same bits; other backends may add atomically.
///
/// # Shapes
/// - `weight`: `[vocab, d_model]`
/// - `ids`: `[batch, seq]`, each below `vocab`
/// - returns `[batch, seq, d_model]`
///
/// # Panics
/// On flex if an id is not below `vocab`; other backends do not check.
pub fn embedding(weight: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    module::embedding(weight, ids)
}
