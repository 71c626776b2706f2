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

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::{Device, Int, Tensor};

    use super::*;

    #[test]
    fn the_gradients_of_a_repeated_id_add_up_the_same_way_each_time() {
        let run = || {
            let device = Device::flex().autodiff();
            let weight = Tensor::<2>::zeros([4, 2], &device).require_grad();
            let ids = Tensor::<2, Int>::from_data([[1, 3, 1], [1, 0, 3]], &device);
            let factors = Tensor::<3>::from_data(
                [
                    [[1.0, 0.1], [2.0, 0.2], [4.0, 0.4]],
                    [[8.0, 0.8], [16.0, 1.6], [32.0, 3.2]],
                ],
                &device,
            );
            let grads = (embedding(weight.clone(), ids) * factors).sum().backward();
            weight
                .grad(&grads)
                .unwrap()
                .into_data()
                .try_into_vec::<f32>()
                .unwrap()
        };
        let first = run();
        assert_eq!(
            first,
            [16.0, 1.6, 13.0, 0.1 + 0.4 + 0.8, 0.0, 0.0, 34.0, 0.2 + 3.2]
        );
        assert_eq!(first, run());
    }
}
