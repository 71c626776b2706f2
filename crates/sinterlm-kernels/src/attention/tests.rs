//! Tests of causal attention: both routes against each other and against what must hold.

use burn::tensor::{Device, Tensor, TensorData};

use super::*;
use crate::{check::assert_frozen_operands_change_nothing, with_route};

/// Values of about unit size from a formula, `[shape]`.
fn fill(shape: [usize; 4], salt: f32) -> Vec<f32> {
    let count = shape.iter().product::<usize>();
    (0..count)
        .map(|i| ((i as f32 * 0.731 + salt) * 1.618).sin() * 1.5)
        .collect()
}

fn tensor(values: Vec<f32>, shape: [usize; 4], device: &Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

struct Case {
    batch: usize,
    heads: usize,
    kv_heads: usize,
    seq: usize,
    head_dim: usize,
    layout: RowLayout,
    options: AttentionOptions,
}

impl Case {
    fn dense(batch: usize, heads: usize, kv_heads: usize, seq: usize, head_dim: usize) -> Self {
        let (layout, options) = (RowLayout::dense(batch, seq), AttentionOptions::default());
        Self {
            batch,
            heads,
            kv_heads,
            seq,
            head_dim,
            layout,
            options,
        }
    }

    /// Output and the gradients of q, k and v for a fixed gradient of the output. The inputs are
    /// views of `[batch, seq, heads, head_dim]`, as in a model.
    fn run(&self, route: Route) -> [Vec<f32>; 4] {
        let device = Device::flex().autodiff();
        let leaf = |heads, salt| {
            let shape = [self.batch, self.seq, heads, self.head_dim];
            tensor(fill(shape, salt), shape, &device).require_grad()
        };
        let leaves = [
            leaf(self.heads, 0.1),
            leaf(self.kv_heads, 0.7),
            leaf(self.kv_heads, 1.9),
        ];
        let [q, k, v] = leaves.clone().map(|x| x.swap_dims(1, 2));
        let out = with_route(route, || {
            causal_attention(q, k, v, &self.layout, &self.options)
        });
        let shape = [self.batch, self.heads, self.seq, self.head_dim];
        let weights = tensor(fill(shape, 5.0), shape, &device);
        let grads = (out.clone() * weights).sum().backward();
        let [dq, dk, dv] = leaves.map(|x| values(x.grad(&grads).unwrap()));
        [values(out.without_autodiff()), dq, dk, dv]
    }

    fn routes_agree(&self) {
        let (native, composed) = (self.run(Route::Native), self.run(Route::Composed));
        for (name, (native, composed)) in ["out", "dq", "dk", "dv"]
            .iter()
            .zip(native.iter().zip(&composed))
        {
            assert_close(name, native, composed);
        }
    }
}

fn values(x: Tensor<4>) -> Vec<f32> {
    x.into_data().try_into_vec().unwrap()
}

fn assert_close(name: &str, found: &[f32], wanted: &[f32]) {
    assert_eq!(found.len(), wanted.len());
    let size = wanted.iter().fold(1.0f32, |a, x| a.max(x.abs()));
    for (at, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let distance = (found - wanted).abs() / size;
        assert!(distance < 1e-5, "{name}[{at}]: {found} is not {wanted}");
    }
}

#[test]
fn native_equals_composed_over_tiles_and_remainders() {
    Case::dense(2, 3, 3, 7, 5).routes_agree();
    Case::dense(1, 2, 2, 64, 16).routes_agree();
    Case::dense(1, 1, 1, 333, 24).routes_agree(); // two tiles of keys, nothing divides
    Case::dense(1, 1, 1, 1, 4).routes_agree();
}

#[test]
fn grouped_heads_equal_repeated_heads() {
    let case = Case::dense(2, 6, 2, 20, 8);
    case.routes_agree();

    let device = Device::flex();
    let input = |heads, salt| {
        let shape = [2, heads, 20, 8];
        tensor(fill(shape, salt), shape, &device)
    };
    let (q, k, v) = (input(6, 0.1), input(2, 0.7), input(2, 1.9));
    let call = |k, v| causal_attention(q.clone(), k, v, &case.layout, &case.options);
    let grouped = values(call(k.clone(), v.clone()));
    let repeated = values(call(repeat_heads(k, 6), repeat_heads(v, 6)));
    assert_eq!(grouped, repeated);
}

#[test]
fn scale_soft_cap_and_dropout_agree_on_both_routes() {
    let mut case = Case::dense(1, 2, 1, 70, 8);
    case.options.scale = Some(0.9);
    case.options.softcap = Some(2.0);
    case.routes_agree();
    case.options.dropout = Some((0.3, 99));
    case.routes_agree();
    case.options.softcap = None;
    case.routes_agree();
    let dropped = case.run(Route::Native);
    case.options.dropout = Some((0.3, 100));
    assert_ne!(dropped[0], case.run(Route::Native)[0]);
}

#[test]
fn segments_and_padding_agree_on_both_routes() {
    let seq = 300;
    let mut case = Case::dense(2, 2, 1, seq, 8);
    let segments: Vec<u32> = (0..2 * seq).map(|at| (at / 37) as u32).collect();
    case.layout = RowLayout::from_segments(2, seq, &segments, &[seq as u32, 211]);
    case.routes_agree();
    case.options.dropout = Some((0.2, 3));
    case.routes_agree();
}

#[test]
fn a_window_agrees_on_both_routes_whatever_the_tiles_and_segments() {
    for window in [1, 5, 64, 200, 299, 300, 1000] {
        let mut case = Case::dense(1, 2, 1, 300, 8);
        case.options.window = Some(window);
        case.routes_agree();
    }
    let mut case = Case::dense(2, 2, 2, 90, 8);
    let segments: Vec<u32> = (0..2 * 90).map(|at| (at / 37) as u32).collect();
    case.layout = RowLayout::from_segments(2, 90, &segments, &[90, 61]);
    case.options.window = Some(20);
    case.options.softcap = Some(3.0);
    case.routes_agree();
}

#[test]
fn a_window_of_one_returns_the_values_and_a_wide_one_changes_nothing() {
    let mut case = Case::dense(1, 2, 2, 70, 8);
    let whole = case.run(Route::Native);
    case.options.window = Some(70);
    assert_eq!(case.run(Route::Native), whole);
    case.options.window = Some(1);
    let shape = [1, 70, 2, 8];
    let own = tensor(fill(shape, 1.9), shape, &Device::flex()).swap_dims(1, 2);
    assert_close("out", &case.run(Route::Native)[0], &values(own));
}

#[test]
fn a_row_of_nothing_but_padding_stays_finite_on_both_routes() {
    let mut case = Case::dense(2, 2, 1, 9, 4);
    case.layout = RowLayout::from_segments(2, 9, &[0; 18], &[0, 9]);
    case.routes_agree();
    let numbers = case.run(Route::Native);
    assert!(numbers.iter().flatten().all(|x| x.is_finite()));
}

#[test]
fn views_with_any_strides_keep_their_places() {
    let device = Device::flex();
    let run = |route| {
        // Query, key and value side by side in one tensor, and one whose last axis is not contiguous.
        let shape = [2, 5, 9, 4];
        let fused = tensor(fill(shape, 0.1), shape, &device);
        let [q, k, v] = [0, 3, 6].map(|at| fused.clone().narrow(2, at, 3).swap_dims(1, 2));
        let shape = [4, 3, 5, 2];
        let turned = tensor(fill(shape, 0.9), shape, &device).permute([3, 1, 2, 0]);
        let (layout, options) = (RowLayout::dense(2, 5), AttentionOptions::default());
        with_route(route, || {
            [k, turned].map(|k| {
                let (q, v) = (q.clone(), v.clone());
                values(causal_attention(q, k, v, &layout, &options))
            })
        })
    };
    let (native, composed) = (run(Route::Native), run(Route::Composed));
    for (native, composed) in native.iter().zip(&composed) {
        assert_close("out", native, composed);
    }
}

#[test]
fn packed_segments_equal_rows_of_their_own() {
    for route in [Route::Native, Route::Composed] {
        let (packed_shape, first) = ([1, 2, 30, 8], 13);
        let device = Device::flex();
        let inputs =
            [0.1, 0.7, 1.9].map(|salt| tensor(fill(packed_shape, salt), packed_shape, &device));
        let segments: Vec<u32> = (0..30).map(|at| u32::from(at >= first)).collect();
        let layout = RowLayout::from_segments(1, 30, &segments, &[30]);
        let options = AttentionOptions::default();
        let attend = |[q, k, v]: [Tensor<4>; 3], layout: &RowLayout| {
            with_route(route, || causal_attention(q, k, v, layout, &options))
        };
        let packed = attend(inputs.clone(), &layout);
        for range in [0..first, first..30] {
            let alone = inputs
                .clone()
                .map(|x| x.narrow(2, range.start, range.len()));
            let alone = attend(alone, &RowLayout::dense(1, range.len()));
            let part = packed.clone().narrow(2, range.start, range.len());
            assert_close("segment", &values(part), &values(alone));
        }
    }
}

#[test]
fn a_later_token_never_moves_earlier_outputs() {
    let (shape, device) = ([1, 2, 100, 8], Device::flex());
    let options = AttentionOptions::default();
    let run = |change: f32| {
        let inputs = [0.1, 0.7, 1.9].map(|salt| {
            let mut x = fill(shape, salt);
            for head in x.chunks_mut(100 * 8) {
                head[80 * 8..].iter_mut().for_each(|x| *x += change);
            }
            tensor(x, shape, &device)
        });
        let [q, k, v] = inputs;
        let out = causal_attention(q, k, v, &RowLayout::dense(1, 100), &options);
        values(out.narrow(2, 0, 80))
    };
    assert_eq!(run(0.0), run(3.0));
}

#[test]
fn the_thread_count_leaves_every_bit() {
    let mut case = Case::dense(2, 4, 2, 150, 16);
    case.options.dropout = Some((0.1, 5));
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| case.run(Route::Native))
    };
    assert_eq!(run(1), run(2));
}

#[test]
fn merging_the_heads_of_the_output_copies_nothing() {
    let (shape, device) = ([2, 3, 4, 5], Device::flex());
    let x = tensor(fill(shape, 0.3), shape, &device);
    let out = causal_attention(
        x.clone(),
        x.clone(),
        x,
        &RowLayout::dense(2, 4),
        &AttentionOptions::default(),
    );
    let merged = out
        .swap_dims(1, 2)
        .try_into_primitive::<burn::backend::Flex>()
        .unwrap();
    assert!(merged.is_contiguous());
}

#[test]
fn products_of_narrow_numbers_stay_near_f32() {
    let mut case = Case::dense(2, 4, 2, 150, 16);
    let exact = case.run(Route::Native);
    for (precision, tolerance) in [(MatmulPrecision::Bf16, 0.02), (MatmulPrecision::F16, 0.003)] {
        case.options.precision = precision;
        for route in [Route::Native, Route::Composed] {
            for (narrow, exact) in case.run(route).iter().zip(&exact) {
                assert!(narrow != exact, "{precision:?} was used");
                let scale = exact.iter().fold(0f32, |scale, x| scale.max(x.abs()));
                for (narrow, exact) in narrow.iter().zip(exact) {
                    let error = (narrow - exact).abs();
                    assert!(error < tolerance * scale, "{precision:?}: {narrow} {exact}");
                }
            }
        }
    }
}

#[test]
fn frozen_operands_change_nothing_for_the_others() {
    // Two rows of 100 tokens, four query heads on two key heads of width 8.
    let (q, kv) = (2 * 4 * 100 * 8, 2 * 2 * 100 * 8);
    assert_frozen_operands_change_nothing([q, kv, kv], |[q, k, v]| {
        let layout = RowLayout::dense(2, 100);
        let (k, v) = (k.reshape([2, 2, 100, 8]), v.reshape([2, 2, 100, 8]));
        let q = q.reshape([2, 4, 100, 8]);
        causal_attention(q, k, v, &layout, &AttentionOptions::default()).flatten(0, 3)
    });
}
