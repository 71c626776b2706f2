//! Tests of attention to kept keys and values.

use burn::tensor::{DType, Device, Tensor};

use super::{CachedRows, KeyValues};
use crate::{
    AttentionOptions, Route, RowLayout, causal_attention,
    check::{assert_close, fill, values, with_threads},
    with_route,
};

const HEAD_DIM: usize = 20;

/// Queries of four heads, keys and values of two, for one row of `seq` tokens.
fn row(seq: usize, seed: u64) -> [Tensor<4>; 3] {
    let device = Device::flex();
    let made = |heads, seed| fill([1, heads, seq, HEAD_DIM], seed, &device, DType::F32) * 2.0;
    [made(4, seed), made(2, seed + 1), made(2, seed + 2)]
}

fn part(x: &Tensor<4>, from: usize, to: usize) -> Tensor<4> {
    x.clone().narrow(2, from, to - from)
}

/// Parts of two rows side by side, the shorter padded with garbage.
fn side_by_side(rows: [(&Tensor<4>, usize, usize); 2]) -> Tensor<4> {
    let seq = rows.iter().map(|(_, from, to)| to - from).max().unwrap();
    let padded = |(x, from, to): (&Tensor<4>, usize, usize)| {
        let [batch, heads, _, head_dim] = x.dims();
        let garbage = Tensor::full([batch, heads, seq, head_dim], 1e3, &x.device());
        if from == to {
            return garbage;
        }
        let all = [0..batch, 0..heads, 0..to - from, 0..head_dim];
        garbage.slice_assign(all, part(x, from, to))
    };
    Tensor::cat(rows.map(padded).to_vec(), 0)
}

fn options() -> [AttentionOptions; 3] {
    let plain = AttentionOptions::default();
    [
        plain,
        AttentionOptions {
            softcap: Some(2.0),
            scale: Some(0.4),
            ..plain
        },
        AttentionOptions {
            window: Some(5),
            ..plain
        },
    ]
}

/// Two rows of 21 and 37 tokens read in three passes; the outputs at each row's tokens.
fn in_passes(options: &AttentionOptions) -> [Vec<f64>; 2] {
    let device = Device::flex();
    let [a, b] = [row(21, 1), row(37, 7)];
    let mut store = KeyValues::new([3, 2, 40, HEAD_DIM], &device);
    let mut outputs = [vec![], vec![]];
    let cuts: [[usize; 4]; 2] = [[0, 3, 20, 21], [0, 18, 18, 37]];
    for pass in 0..3 {
        let ends = [0, 1].map(|row| [cuts[row][pass], cuts[row][pass + 1]]);
        let new = ends.map(|[from, to]| to - from);
        let [q, k, v] = std::array::from_fn(|at| {
            let [of_a, of_b] = ends;
            side_by_side([(&a[at], of_a[0], of_a[1]), (&b[at], of_b[0], of_b[1])])
        });
        let rows = CachedRows {
            slots: &[2, 0],
            held: &[cuts[0][pass], cuts[1][pass]],
            new: &new,
        };
        let out = store.attend(q, k, v, &rows, options);
        for row in 0..2 {
            let out = out.clone().narrow(0, row, 1).narrow(2, 0, new[row].max(1));
            if new[row] > 0 {
                // [1, heads, new, head_dim] -> new tokens first
                outputs[row].extend(values(out.swap_dims(1, 2)));
            }
        }
    }
    outputs
}

#[test]
fn rows_read_in_passes_equal_whole_rows_on_both_routes() {
    for options in options() {
        for route in [Route::Native, Route::Composed] {
            let found = with_route(route, || in_passes(&options));
            for (found, [q, k, v]) in found.iter().zip([row(21, 1), row(37, 7)]) {
                let seq = q.dims()[2];
                let expected = masked(q, k, v, &options);
                assert_close(&format!("{route:?} {seq}"), found, &expected, 1e-5);
            }
        }
    }
}

/// The definition, token by token, through plain causal attention over what a token sees.
fn masked(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, options: &AttentionOptions) -> Vec<f64> {
    let seq = q.dims()[2];
    let plain = AttentionOptions {
        window: None,
        ..*options
    };
    (0..seq)
        .flat_map(|token| {
            let seen = super::visible(token, options);
            let [q, k, v] = [&q, &k, &v].map(|x| part(x, seen.start, seen.end));
            let layout = RowLayout::dense(1, seen.len());
            let out = causal_attention(q, k, v, &layout, &plain);
            values(out.narrow(2, seen.len() - 1, 1).swap_dims(1, 2))
        })
        .collect()
}

/// Unlike above, `visible` is not asked what the window means.
#[test]
fn a_window_is_that_of_causal_attention() {
    for window in [1, 5, 21, 36] {
        let options = AttentionOptions {
            window: Some(window),
            ..AttentionOptions::default()
        };
        for route in [Route::Native, Route::Composed] {
            let found = with_route(route, || in_passes(&options));
            for (found, [q, k, v]) in found.iter().zip([row(21, 1), row(37, 7)]) {
                let layout = RowLayout::dense(1, q.dims()[2]);
                let whole = causal_attention(q, k, v, &layout, &options);
                let expected = values(whole.swap_dims(1, 2));
                assert_close(&format!("{route:?} {window}"), found, &expected, 1e-5);
            }
        }
    }
}

#[test]
fn a_rows_bits_depend_on_nothing_but_the_row() {
    let device = Device::flex();
    let [a, b] = [row(9, 1), row(9, 7)];
    let rows = |slots, count: usize| CachedRows {
        slots,
        held: &[0, 0][..count],
        new: &[9, 9][..count],
    };
    let options = AttentionOptions::default();
    let alone = {
        let [q, k, v] = a.clone();
        let mut store = KeyValues::new([1, 2, 9, HEAD_DIM], &device);
        values(store.attend(q, k, v, &rows(&[0], 1), &options))
    };
    for threads in [1, 3] {
        let both = with_threads(threads, || {
            let [q, k, v] =
                std::array::from_fn(|at| side_by_side([(&b[at], 0, 9), (&a[at], 0, 9)]));
            let mut store = KeyValues::new([2, 2, 40, HEAD_DIM], &device);
            store.attend(q, k, v, &rows(&[1, 0], 2), &options)
        });
        assert_eq!(values(both.narrow(0, 1, 1)), alone);
    }
}

#[test]
fn a_long_first_pass_can_be_continued() {
    let device = Device::flex();
    let [q, k, v] = row(90, 3);
    let options = AttentionOptions::default();
    let mut store = KeyValues::new([1, 2, 90, HEAD_DIM], &device);
    let mut pass = |from, to| {
        let [q, k, v] = [&q, &k, &v].map(|x| part(x, from, to));
        let rows = CachedRows {
            slots: &[0],
            held: &[from],
            new: &[to - from],
        };
        values(store.attend(q, k, v, &rows, &options))
    };
    pass(0, 80);
    let found = pass(80, 90);
    let whole = causal_attention(q, k, v, &RowLayout::dense(1, 90), &options);
    assert_close("the end", &found, &values(whole.narrow(2, 80, 10)), 1e-5);
}

#[test]
fn a_copied_slot_goes_on_like_the_original() {
    for route in [Route::Native, Route::Composed] {
        with_route(route, || {
            let device = Device::flex();
            let [q, k, v] = row(20, 5);
            let options = AttentionOptions::default();
            let mut store = KeyValues::new([2, 2, 20, HEAD_DIM], &device);
            let pass = |store: &mut KeyValues, slot: usize, from, to| {
                let [q, k, v] = [&q, &k, &v].map(|x| part(x, from, to));
                let rows = CachedRows {
                    slots: &[slot],
                    held: &[from],
                    new: &[to - from],
                };
                values(store.attend(q, k, v, &rows, &options))
            };
            pass(&mut store, 0, 0, 19);
            store.copy_slot(0, 1, 19);
            let original = pass(&mut store, 0, 19, 20);
            assert_eq!(pass(&mut store, 1, 19, 20), original);
        });
    }
}
