//! Token embedding: a gather of rows with a scatter-add backward. What the rows mean is left to
//! the model.

use burn::tensor::{Int, Tensor, module};

use crate::Route;

/// The rows of `weight` at `ids`.
///
/// The gradient is dense `[vocab, d_model]`. On flex each row adds up in the order of the tokens, so
/// that the same batch gives the same bits for any thread count; other backends may add atomically.
///
/// # Shapes
/// - `weight`: `[vocab, d_model]`
/// - `ids`: `[batch, seq]`, each below `vocab`
/// - returns `[batch, seq, d_model]`
///
/// # Panics
/// On flex if an id is not below `vocab`; other backends do not check.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::flex();
/// let weight = Tensor::<2>::from_data([[0.0, 0.5], [1.0, 1.5]], &device);
/// let out = sinterlm_kernels::embedding(weight, Tensor::from_data([[1, 0]], &device));
/// assert_eq!(out.to_data().try_to_vec::<f32>().unwrap(), [1.0, 1.5, 0.0, 0.5]);
/// ```
pub fn embedding(weight: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    match Route::of(&weight.device(), weight.dtype()) {
        #[cfg(feature = "flex")]
        Route::Native => native::embedding(weight, ids),
        _ => module::embedding(weight, ids),
    }
}

#[cfg(feature = "flex")]
mod native {
    use burn::{
        backend::{
            Dispatch, Flex,
            autodiff::{
                Autodiff,
                checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
                grads::Gradients,
                ops::{Backward, Ops, OpsKind},
            },
            backend_extension,
            flex::FlexTensor,
            tensor::{FloatTensor, IntTensor},
        },
        tensor::{DType, Int, Tensor},
    };
    use rayon::prelude::*;

    use crate::buffer;

    /// Parts of the vocabulary whose gradients are added up side by side.
    const PARTS: usize = 16;
    /// Tokens gathered per task.
    const TOKENS: usize = 256;

    pub(super) fn embedding(weight: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
        let (weight, ids) = (weight.into_dispatch(), ids.into_dispatch());
        Tensor::from_dispatch(<Dispatch as Embedding>::embedding(weight, ids))
    }

    #[backend_extension(Flex, Autodiff)]
    pub(super) trait Embedding: burn::backend::Backend {
        fn embedding(weight: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self>;
    }

    impl Embedding for Flex {
        fn embedding(weight: FlexTensor, ids: FlexTensor) -> FlexTensor {
            Lookup::new(&weight, &ids).gather(&weight)
        }
    }

    impl<C: CheckpointStrategy> Embedding for Autodiff<Flex, C> {
        fn embedding(weight: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self> {
            let lookup = Lookup::new(weight.primitive(), &ids);
            let node = weight.node();
            let out = lookup.gather(weight.primitive());
            match EmbeddingBackward
                .prepare::<C>([node])
                .compute_bound()
                .stateful()
            {
                OpsKind::Tracked(prep) => prep.finish(lookup, out),
                OpsKind::UnTracked(prep) => prep.finish(out),
            }
        }
    }

    #[derive(Debug)]
    struct EmbeddingBackward;

    impl Backward<Flex, 1> for EmbeddingBackward {
        type State = Lookup;

        fn backward(self, ops: Ops<Lookup, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
            let grad = grads.consume::<Flex>(&ops.node);
            let [parent] = ops.parents;
            if let Some(node) = parent {
                grads.register::<Flex>(node.id, ops.state.scatter(&grad));
            }
        }
    }

    /// Which row each token reads.
    #[derive(Clone, Debug)]
    struct Lookup {
        rows: Vec<usize>,
        batch: usize,
        vocab: usize,
        d_model: usize,
    }

    impl Lookup {
        fn new(weight: &FlexTensor, ids: &FlexTensor) -> Self {
            let (vocab, d_model) = (weight.layout().shape()[0], weight.layout().shape()[1]);
            let batch = ids.layout().shape()[0];
            let ids = ids.to_contiguous();
            let rows: Vec<usize> = match ids.dtype() {
                DType::I32 => ids.storage::<i32>().iter().map(|&id| id as usize).collect(),
                DType::I64 => ids.storage::<i64>().iter().map(|&id| id as usize).collect(),
                other => panic!("embedding: ids must be i32 or i64, not {other:?}"),
            };
            if let Some(row) = rows.iter().find(|&&row| row >= vocab) {
                panic!("embedding: id {} is not below vocab {vocab}", *row as i64);
            }
            Self {
                rows,
                batch,
                vocab,
                d_model,
            }
        }

        /// `[batch, seq, d_model]`.
        fn gather(&self, weight: &FlexTensor) -> FlexTensor {
            let d_model = self.d_model;
            let weight = weight.to_contiguous();
            let weight: &[f32] = weight.storage();
            let mut out = vec![0.0f32; self.rows.len() * d_model];
            if !out.is_empty() {
                let blocks = out.par_chunks_mut(TOKENS * d_model);
                blocks
                    .zip(self.rows.par_chunks(TOKENS))
                    .for_each(|(out, rows)| {
                        for (out, row) in out.chunks_exact_mut(d_model).zip(rows) {
                            out.copy_from_slice(&weight[row * d_model..][..d_model]);
                        }
                    });
            }
            let seq = self.rows.len() / self.batch.max(1);
            buffer::from_vec(out, [self.batch, seq, d_model])
        }

        /// `[vocab, d_model]`. Memory fresh from the system is zero without being touched: rows
        /// that no token reads cost nothing here.
        fn scatter(&self, grad: &FlexTensor) -> FlexTensor {
            let d_model = self.d_model;
            let grad = grad.to_contiguous();
            let grad: &[f32] = grad.storage();
            let mut out = vec![0.0f32; self.vocab * d_model];
            if !grad.is_empty() {
                let part = self.vocab.div_ceil(PARTS);
                let parts = out.par_chunks_mut(part * d_model).enumerate();
                parts.for_each(|(at, out)| {
                    let first = at * part;
                    for (row, grad) in self.rows.iter().zip(grad.chunks_exact(d_model)) {
                        let Some(row) = row.checked_sub(first).filter(|&row| row < part) else {
                            continue;
                        };
                        for (out, grad) in out[row * d_model..][..d_model].iter_mut().zip(grad) {
                            *out += grad;
                        }
                    }
                });
            }
            buffer::from_vec(out, [self.vocab, d_model])
        }
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::{DType, Device, Int, Tensor};

    use super::*;
    use crate::{
        check::{assert_routes_agree, fill, values, with_threads},
        with_route,
    };

    #[test]
    fn both_routes_read_the_same_rows() {
        let device = Device::flex();
        let weight = Tensor::<1, Int>::arange(0..15, &device)
            .float()
            .reshape([5, 3]);
        let ids = Tensor::<2, Int>::from_data([[4, 0], [2, 2]], &device).transpose();
        let run = |route| {
            let out = with_route(route, || embedding(weight.clone(), ids.clone()));
            out.into_data()
        };
        assert_eq!(run(Route::Native), run(Route::Composed));
    }

    /// Rows and their gradient; the table is a view, and so is the gradient of the rows.
    fn run(vocab: usize, [batch, seq]: [usize; 2]) -> Vec<Vec<f64>> {
        let device = Device::flex().autodiff();
        let leaf = fill([3, vocab], 1, &device, DType::F32).require_grad();
        let ids = Tensor::<1, Int>::arange(0..(batch * seq) as i64, &device) % vocab as i64;
        let ids = ids.reshape([batch, seq]);
        let rows = embedding(leaf.clone().transpose(), ids).swap_dims(0, 1);
        let upstream = fill([seq, batch, 3], 2, &device, DType::F32);
        let grads = (rows.clone() * upstream).sum().backward();
        vec![values(rows), values(leaf.grad(&grads).unwrap())]
    }

    #[test]
    fn both_routes_give_the_same_gradient() {
        for (vocab, dims) in [(5, [2, 9]), (7, [1, 1]), (40, [3, 11])] {
            assert_routes_agree(1e-6, || run(vocab, dims));
        }
    }

    #[test]
    fn threads_leave_the_bits_alone() {
        let on = |threads| with_threads(threads, || run(50, [3, 301]));
        assert_eq!(on(1), on(2));
    }

    #[test]
    #[should_panic(expected = "id 7 is not below vocab 4")]
    fn an_id_beyond_the_vocabulary_is_refused() {
        let device = Device::flex();
        embedding(
            Tensor::zeros([4, 2], &device),
            Tensor::from_data([[7]], &device),
        );
    }

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
