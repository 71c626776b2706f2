//! The orthogonalisation of the Muon optimizer. Momentum, scaling and the update itself are left
//! to the optimizer.

use burn::tensor::Tensor;

use crate::{MatmulPrecision, Route, sum_of_squares};

/// Coefficients of the quintic of Jordan et al. 2024: steep at 0, so that five steps suffice, at
/// the price of singular values that end between about 0.7 and 1.2 in place of 1.
const QUINTIC: [f32; 3] = [3.4445, -4.7750, 2.0315];

/// Keeps a zero matrix zero; the value of the reference implementation.
const NORM_FLOOR: f64 = 1e-7;

/// Pushes the singular values of a plain matrix (without autodiff) towards 1: for `g = U Σ Vᵀ`
/// about `U Vᵀ`.
///
/// Newton-Schulz iteration of Jordan et al. 2024, <https://kellerjordan.github.io/posts/muon/>:
/// with `X = g / ‖g‖` on its smaller side and `A = X Xᵀ`, each step is
/// `X ← (a I + b A + c A²) X`, `(a, b, c) = (3.4445, −4.7750, 2.0315)`; five steps are usual.
///
/// The native form iterates the small square matrices alone: with `Q = a I + b A + c A²` it keeps
/// `P ← Q P` and `A ← Q A Q`, and multiplies `P X` once at the end. All these matrices are
/// polynomials of the first `A`, hence symmetric, and half of each product is enough.
///
/// # Shapes
/// - `g`: `[rows, cols]`, returns the same
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sinterlm_kernels::{MatmulPrecision, orthogonalize};
///
/// let g = Tensor::<2>::from_data([[9.0, 0.0], [0.0, 3.0]], &Device::flex());
/// let x = orthogonalize(g, 5, MatmulPrecision::F32).to_data().try_to_vec::<f32>().unwrap();
/// assert!((x[0] - 1.0).abs() < 0.33 && (x[3] - 1.0).abs() < 0.33 && x[1].abs() < 1e-6);
/// ```
pub fn orthogonalize(g: Tensor<2>, steps: usize, precision: MatmulPrecision) -> Tensor<2> {
    match Route::of(&g.device(), g.dtype()) {
        #[cfg(feature = "flex")]
        Route::Native if steps > 0 => {
            native::orthogonalize(g, steps, precision, native::Threads::Many)
        }
        _ => {
            let norm = frobenius(&g);
            composed(g.div_scalar(norm), steps, precision)
        }
    }
}

/// [`orthogonalize`] of many matrices. On the CPU the matrices run side by side, one thread each:
/// matrices of a few hundred rows are too small to be split among threads without loss.
pub fn orthogonalize_all(
    matrices: Vec<Tensor<2>>,
    steps: usize,
    precision: MatmulPrecision,
) -> Vec<Tensor<2>> {
    #[cfg(feature = "flex")]
    if steps > 0
        && let Some(first) = matrices.first()
        && matches!(Route::of(&first.device(), first.dtype()), Route::Native)
    {
        return native::orthogonalize_all(matrices, steps, precision);
    }
    matrices
        .into_iter()
        .map(|g| orthogonalize(g, steps, precision))
        .collect()
}

/// Bytes that [`orthogonalize_all`] of matrices of these shapes needs at most beside its input, which
/// it frees as it goes: for each thread four square matrices, the operands of a product rearranged,
/// and one result.
pub fn orthogonalize_all_bytes(shapes: &[[usize; 2]]) -> u64 {
    let of = |[rows, cols]: &[usize; 2]| 4 * (6 * rows.min(cols).pow(2) + rows * cols) as u64;
    let mut each: Vec<u64> = shapes.iter().map(of).collect();
    each.sort_unstable_by(|a, b| b.cmp(a));
    each.iter().take(rayon::current_num_threads()).sum()
}

fn frobenius(g: &Tensor<2>) -> f64 {
    sum_of_squares(g.clone()).sqrt() + NORM_FLOOR
}

fn composed(mut x: Tensor<2>, steps: usize, precision: MatmulPrecision) -> Tensor<2> {
    let stored = x.dtype();
    let times = |a: Tensor<2>, b: Tensor<2>| {
        precision
            .operand(a)
            .matmul(precision.operand(b))
            .cast(stored)
    };
    let [rows, cols] = x.dims();
    if rows > cols {
        x = x.transpose();
    }
    let [a, b, c] = QUINTIC;
    for _ in 0..steps {
        let gram = times(x.clone(), x.clone().transpose());
        let mix = gram.clone().mul_scalar(b) + times(gram.clone(), gram).mul_scalar(c);
        x = x.clone().mul_scalar(a) + times(mix, x);
    }
    if rows > cols { x.transpose() } else { x }
}

#[cfg(feature = "flex")]
mod native {
    use burn::tensor::Tensor;
    use rayon::prelude::*;

    use super::{QUINTIC, frobenius};
    use crate::{
        MatmulPrecision, buffer,
        isa::vectorized,
        product::{Matrix, product},
    };

    /// Rows per product; a multiple of the register tiles.
    const BLOCK: usize = 48;

    /// Rows that one product computes of a result of `rows`: few, so that little of a symmetric
    /// result is computed twice; but products in bf16 pack the other operand anew for each.
    fn block_rows(rows: usize, precision: MatmulPrecision) -> usize {
        match precision {
            MatmulPrecision::F32 | MatmulPrecision::F16 => BLOCK,
            MatmulPrecision::Bf16 => rows.div_ceil(2).next_multiple_of(BLOCK),
        }
    }

    /// Side of a mirrored tile: both of its places stay in the first-level cache.
    const TILE: usize = 16;

    /// How many threads work on one matrix.
    #[derive(Clone, Copy)]
    pub(super) enum Threads {
        One,
        Many,
    }

    impl Threads {
        /// Hands blocks of `len` values to `work`, with their number. Who computes a block does
        /// not change its bits.
        fn blocks(self, out: &mut [f32], len: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
            match self {
                Self::One => out
                    .chunks_mut(len)
                    .enumerate()
                    .for_each(|(i, block)| work(i, block)),
                Self::Many => {
                    out.par_chunks_mut(len)
                        .enumerate()
                        .for_each(|(i, block)| work(i, block));
                }
            }
        }
    }

    pub(super) fn orthogonalize_all(
        matrices: Vec<Tensor<2>>,
        steps: usize,
        precision: MatmulPrecision,
    ) -> Vec<Tensor<2>> {
        let one = |g| orthogonalize(g, steps, precision, Threads::One);
        matrices.into_par_iter().with_max_len(1).map(one).collect()
    }

    pub(super) fn orthogonalize(
        g: Tensor<2>,
        steps: usize,
        precision: MatmulPrecision,
        threads: Threads,
    ) -> Tensor<2> {
        let norm = frobenius(&g);
        let [rows, cols] = g.dims();
        let g = buffer::whole(g);
        let values: &[f32] = g.storage();
        let whole = Matrix::new(values, rows, cols, cols);
        let size = rows.min(cols);
        let inverse = (1.0 / norm) as f32;
        // Before the square matrices, which would fill the gap that the matrix before this left.
        let mut out = vec![0.0; rows * cols];

        let mut gram = vec![0.0; size * size];
        if rows <= cols {
            symmetric(
                (threads, precision),
                &mut gram,
                size,
                whole,
                whole.transposed(),
                inverse * inverse,
            );
        } else {
            symmetric(
                (threads, precision),
                &mut gram,
                size,
                whole.transposed(),
                whole,
                inverse * inverse,
            );
        }
        let mut factor = vec![0.0; size * size];
        let mut total: Vec<f32> = Vec::new();
        let mut spare = vec![0.0; size * size];
        let [a, b, c] = QUINTIC;
        for step in 0..steps {
            symmetric(
                (threads, precision),
                &mut factor,
                size,
                square(&gram, size),
                square(&gram, size),
                c,
            );
            vectorized(|| {
                for (factor, gram) in factor.iter_mut().zip(&gram) {
                    *factor += b * gram;
                }
            });
            factor.iter_mut().step_by(size + 1).for_each(|x| *x += a);
            if step == 0 {
                total.clone_from(&factor);
            } else {
                symmetric(
                    (threads, precision),
                    &mut spare,
                    size,
                    square(&factor, size),
                    square(&total, size),
                    1.0,
                );
                std::mem::swap(&mut spare, &mut total);
            }
            if step + 1 < steps {
                symmetric(
                    (threads, precision),
                    &mut spare,
                    size,
                    square(&factor, size),
                    square(&gram, size),
                    1.0,
                );
                symmetric(
                    (threads, precision),
                    &mut gram,
                    size,
                    square(&spare, size),
                    square(&factor, size),
                    1.0,
                );
            }
        }

        let block_rows = block_rows(rows, precision);
        threads.blocks(&mut out, block_rows * cols, |block, out| {
            let (first, count) = (block * block_rows, out.len() / cols);
            if rows <= cols {
                let total = Matrix::new(&total[first * size..], count, size, size);
                product((out, cols), false, total, whole, inverse, precision);
            } else {
                let x = Matrix::new(&values[first * cols..], count, cols, cols);
                product(
                    (out, cols),
                    false,
                    x,
                    square(&total, size),
                    inverse,
                    precision,
                );
            }
        });
        buffer::tensor(buffer::from_vec(out, [rows, cols]))
    }

    fn square(values: &[f32], size: usize) -> Matrix<'_> {
        Matrix::new(values, size, size, size)
    }

    /// `out = factor · a b` for a product known to be symmetric: computes from the diagonal on
    /// and mirrors.
    fn symmetric(
        (threads, precision): (Threads, MatmulPrecision),
        out: &mut [f32],
        size: usize,
        a: Matrix<'_>,
        b: Matrix<'_>,
        factor: f32,
    ) {
        let block_rows = block_rows(size, precision);
        threads.blocks(out, block_rows * size, |block, out| {
            let first = block * block_rows;
            let rows = out.len() / size;
            let (a, b) = (a.row_range(first, rows), b.col_range(first, size - first));
            product((&mut out[first..], size), false, a, b, factor, precision);
        });
        for top in (0..size).step_by(TILE) {
            for left in (0..=top).step_by(TILE) {
                for row in top..(top + TILE).min(size) {
                    for col in left..(left + TILE).min(row) {
                        out[row * size + col] = out[col * size + row];
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[cfg(feature = "flex")]
mod tests {
    use burn::tensor::{Device, Tensor, TensorData};

    use super::*;
    use crate::with_route;

    /// A matrix of independent uniform values, so that its singular values spread.
    fn random(rows: usize, cols: usize) -> Tensor<2> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let values: Vec<f32> = (0..rows * cols)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 40) as f32 / 8_388_608.0 - 1.0
            })
            .collect();
        Tensor::from_data(TensorData::new(values, [rows, cols]), &Device::flex())
    }

    fn values(x: Tensor<2>) -> Vec<f32> {
        x.into_data().try_into_vec().unwrap()
    }

    #[test]
    fn many_at_once_give_the_bits_of_one_by_one() {
        let shapes = [(64, 64), (130, 50), (50, 200)];
        let matrices: Vec<_> = shapes.iter().map(|(r, c)| random(*r, *c)).collect();
        let all = orthogonalize_all(matrices.clone(), 5, MatmulPrecision::F32);
        for (together, alone) in all.into_iter().zip(matrices) {
            assert_eq!(
                values(together),
                values(orthogonalize(alone, 5, MatmulPrecision::F32))
            );
        }
    }

    #[test]
    fn both_forms_agree() {
        for (rows, cols) in [(64, 64), (130, 50), (50, 200), (1, 7)] {
            let native = values(orthogonalize(random(rows, cols), 5, MatmulPrecision::F32));
            let composed = values(with_route(Route::Composed, || {
                orthogonalize(random(rows, cols), 5, MatmulPrecision::F32)
            }));
            for (native, composed) in native.iter().zip(&composed) {
                assert!(
                    (native - composed).abs() < 1e-4,
                    "[{rows}, {cols}]: {native} {composed}"
                );
            }
        }
    }

    #[test]
    fn singular_values_end_near_one() {
        // All singular values of a 4:1 random matrix are of one size, so each enters the band.
        for (rows, cols) in [(64, 256), (256, 64)] {
            let x = orthogonalize(random(rows, cols), 5, MatmulPrecision::F32);
            let x = if rows > cols { x.transpose() } else { x };
            let gram = values(x.clone().matmul(x.transpose()));
            let size = rows.min(cols);
            let trace: f32 = (0..size).map(|i| gram[i * size + i]).sum();
            assert!((0.5..1.5).contains(&(trace / size as f32)));
            // The band of singular values is [0.68, 1.14]: |λ − 1| of the Gram matrix stays
            // below 0.55, seen through the power iteration of (gram − 1).
            let mut vector = vec![1.0f32; size];
            vector[0] = -2.0;
            let mut norm = 0.0;
            for _ in 0..50 {
                let next: Vec<f32> = (0..size)
                    .map(|i| {
                        let line = &gram[i * size..(i + 1) * size];
                        line.iter().zip(&vector).map(|(a, b)| a * b).sum::<f32>() - vector[i]
                    })
                    .collect();
                norm = next.iter().map(|x| x * x).sum::<f32>().sqrt();
                vector = next.iter().map(|x| x / norm).collect();
            }
            assert!(norm < 0.55, "[{rows}, {cols}]: {norm}");
        }
    }

    #[test]
    fn zero_stays_zero() {
        let zero = Tensor::<2>::zeros([3, 5], &Device::flex());
        assert_eq!(
            values(orthogonalize(zero, 5, MatmulPrecision::F32)),
            vec![0.0; 15]
        );
    }

    #[test]
    fn the_thread_count_leaves_every_bit() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| values(orthogonalize(random(120, 200), 5, MatmulPrecision::F32)))
        };
        assert_eq!(run(1), run(2));
    }
}
