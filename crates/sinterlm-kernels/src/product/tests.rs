//! Products against sums in f64, in both precisions and all layouts.

use burn::tensor::f16;

use super::*;
use crate::check::{numbers, with_threads};

const PRECISIONS: [MatmulPrecision; 3] = [
    MatmulPrecision::F32,
    MatmulPrecision::Bf16,
    MatmulPrecision::F16,
];

/// `a b` of rounded numbers, row-major `[rows, depth]` and `[depth, cols]`.
fn expected(
    a: &[f32],
    b: &[f32],
    [rows, depth, cols]: [usize; 3],
    precision: MatmulPrecision,
) -> Vec<f64> {
    let value = |x: f32| match precision {
        MatmulPrecision::F32 => f64::from(x),
        MatmulPrecision::Bf16 => f64::from(f32::from_bits(u32::from(to_bf16(x)) << 16)),
        MatmulPrecision::F16 => f16::from_f32(x).to_f64(),
    };
    let element = |at: usize| {
        (0..depth)
            .map(|k| value(a[at / cols * depth + k]) * value(b[k * cols + at % cols]))
            .sum()
    };
    (0..rows * cols).map(element).collect()
}

fn values(len: usize, seed: u64) -> Vec<f32> {
    numbers(len, seed).into_iter().map(|x| x as f32).collect()
}

fn turned(values: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    (0..values.len())
        .map(|at| values[at % rows * cols + at / rows])
        .collect()
}

#[test]
fn products_equal_sums_in_f64_whatever_the_layout() {
    let sizes = [
        [1, 1, 1],
        [3, 5, 7],
        [14, 32, 32],
        [15, 33, 65],
        [40, 300, 50],
        [29, 2500, 40],
        [1600, 3, 40],
    ];
    for size @ [rows, depth, cols] in sizes {
        let (a, b) = (values(rows * depth, 1), values(depth * cols, 2));
        let (a_turned, b_turned) = (turned(&a, rows, depth), turned(&b, depth, cols));
        let wide = a.iter().flat_map(|&x| [x, f32::NAN]).collect::<Vec<_>>();
        let layouts_of_a = [
            Matrix::new(&a, rows, depth, depth),
            Matrix::new(&a_turned, depth, rows, rows).transposed(),
            Matrix::strided(&wide, [rows, depth], [2 * depth, 2]),
        ];
        let layouts_of_b = [
            Matrix::new(&b, depth, cols, cols),
            Matrix::new(&b_turned, cols, depth, depth).transposed(),
        ];
        for precision in PRECISIONS {
            let expected = expected(&a, &b, size, precision);
            let close = |found: f32, wanted: f64| {
                let error = (f64::from(found) - wanted).abs() / (depth as f64).sqrt();
                assert!(error < 2e-6, "{size:?} {precision:?}: {found} {wanted}");
            };
            for a in layouts_of_a {
                for b in layouts_of_b {
                    let mut sums = vec![1.0; rows * cols];
                    threaded_product(&mut sums, true, a, b, precision);
                    let stride = cols + 3;
                    let mut spread = vec![7.0; rows * stride];
                    product((&mut spread, stride), false, a, b, 2.0, precision);
                    for (at, (&found, &wanted)) in new_product(a, b, precision)
                        .iter()
                        .zip(&expected)
                        .enumerate()
                    {
                        close(found, wanted);
                        close(sums[at] - 1.0, wanted);
                        close(spread[at / cols * stride + at % cols] / 2.0, wanted);
                    }
                    let beside = spread.chunks(stride).flat_map(|row| &row[cols..]);
                    assert!(beside.into_iter().all(|&x| x.to_bits() == 7f32.to_bits()));
                }
            }
        }
    }
}

#[test]
fn the_number_of_threads_leaves_every_bit() {
    let (rows, depth, cols) = (150, 300, 420);
    let (a, b) = (values(rows * depth, 3), values(depth * cols, 4));
    let (a, b) = (
        Matrix::new(&a, rows, depth, depth),
        Matrix::new(&b, depth, cols, cols),
    );
    for precision in PRECISIONS {
        let run = |threads| with_threads(threads, || new_product(a, b, precision));
        assert_eq!(run(1), run(3));
    }
}

#[test]
fn a_nan_stays_in_its_row() {
    let mut a = values(20 * 40, 5);
    a[7 * 40 + 3] = f32::NAN;
    let b = values(40 * 50, 6);
    let (a, b) = (Matrix::new(&a, 20, 40, 40), Matrix::new(&b, 40, 50, 50));
    for precision in PRECISIONS {
        let out = new_product(a, b, precision);
        for (row, out) in out.chunks(50).enumerate() {
            assert!(out.iter().all(|x| x.is_nan() == (row == 7)));
        }
    }
}
