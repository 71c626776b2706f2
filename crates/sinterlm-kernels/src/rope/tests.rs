//! Tests of `rope`.

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::{
    check::{
        assert_close, assert_is_gradient, assert_routes_agree, fill, numbers, values, with_threads,
    },
    rope,
};

/// Cosines and sines of the positions given for each row, base 100.
fn tables(positions: &[&[usize]], half: usize, dtype: DType) -> [Tensor<3>; 2] {
    let shape = [positions.len(), positions[0].len(), half];
    let angles = positions.iter().copied().flatten().flat_map(|&position| {
        (0..half).map(move |i| position as f64 * 100f64.powf(-(i as f64) / half as f64))
    });
    let angles = angles.collect::<Vec<_>>();
    [f64::cos, f64::sin].map(|of: fn(f64) -> f64| {
        let values = angles.iter().map(|&angle| of(angle)).collect::<Vec<_>>();
        Tensor::from_data(TensorData::new(values, shape), (&Device::flex(), dtype))
    })
}

/// Output and gradient of an input that is a view of `[batch, seq, heads, head_dim]`.
fn run([batch, heads, seq, head_dim]: [usize; 4], positions: &[&[usize]]) -> Vec<Vec<f64>> {
    let device = Device::flex().autodiff();
    let leaf = fill([batch, seq, heads, head_dim], 1, &device, DType::F32).require_grad();
    let [cos, sin] = tables(positions, head_dim / 2, DType::F32);
    let y = rope(leaf.clone().swap_dims(1, 2), cos, sin);
    let upstream = fill([batch, heads, seq, head_dim], 2, &device, DType::F32);
    let gradients = (y.clone() * upstream).sum().backward();
    vec![values(y), values(leaf.grad(&gradients).unwrap())]
}

#[test]
fn native_and_composed_agree_with_the_gradient() {
    let shared: &[&[usize]] = &[&[0, 1, 2, 3, 4]];
    assert_routes_agree(1e-6, || run([2, 3, 5, 6], shared));
    let per_row: &[&[usize]] = &[&[7, 8, 9], &[0, 1, 0]];
    assert_routes_agree(1e-6, || run([2, 4, 3, 34], per_row));
    assert_routes_agree(1e-6, || run([1, 1, 1, 2], &[&[5]]));
    let long = (0..300).collect::<Vec<_>>();
    assert_routes_agree(1e-6, || run([2, 3, 300, 40], &[&long]));
}

#[test]
fn views_with_any_strides_keep_their_places() {
    assert_routes_agree(1e-6, || {
        let device = Device::flex();
        let [cos, sin] = tables(&[&[3, 1, 4]], 2, DType::F32);
        // The query part of a fused [batch, seq, 3, heads, head_dim], and one with the axes turned.
        let fused = fill([2, 3, 3, 5, 4], 1, &device, DType::F32);
        let part = fused.narrow(2, 1, 1).reshape([2, 3, 5, 4]).swap_dims(1, 2);
        let turned = fill([4, 3, 5, 2], 2, &device, DType::F32).permute([3, 2, 1, 0]);
        vec![
            values(rope(part, cos.clone(), sin.clone())),
            values(rope(turned, cos, sin)),
        ]
    });
}

#[test]
fn position_zero_changes_nothing_and_lengths_stay() {
    let device = Device::flex();
    let x = fill([1, 2, 2, 8], 1, &device, DType::F32);
    let [cos, sin] = tables(&[&[0, 9]], 4, DType::F32);
    let y = rope(x.clone(), cos, sin);
    let token = |x: &Tensor<4>, at| values(x.clone().narrow(2, at, 1));
    assert_eq!(token(&y, 0), token(&x, 0));
    let squares = |x: Tensor<4>| values(x.square().sum_dim(3));
    assert_close("lengths", &squares(y), &squares(x), 1e-6);
}

#[test]
fn scores_depend_on_the_distance_alone() {
    let device = Device::flex();
    let (q, k) = (
        fill([1, 1, 1, 16], 1, &device, DType::F32),
        fill([1, 1, 1, 16], 2, &device, DType::F32),
    );
    let score = |q_at: usize, k_at: usize| {
        let turn = |x: &Tensor<4>, at: usize| {
            let [cos, sin] = tables(&[&[at]], 8, DType::F32);
            rope(x.clone(), cos, sin)
        };
        values((turn(&q, q_at) * turn(&k, k_at)).sum_dim(3))
    };
    assert_close("score", &score(105, 100), &score(5, 0), 1e-5);
    assert!((score(5, 0)[0] - score(6, 0)[0]).abs() > 1e-3);
}

#[test]
fn the_gradient_is_the_derivative() {
    let device = Device::flex().autodiff();
    let at = numbers(24, 3);
    let [cos, sin] = tables(&[&[2, 5, 11]], 2, DType::F64);
    let tensor =
        |at: &[f64]| Tensor::<1>::from_data(at, (&device, DType::F64)).reshape([1, 2, 3, 4]);
    let loss = |x: Tensor<4>| rope(x, cos.clone(), sin.clone()).powi_scalar(3).sum();
    let x = tensor(&at).require_grad();
    let gradients = loss(x.clone()).backward();
    let gradient = values(x.grad(&gradients).unwrap());
    assert_is_gradient(&at, &gradient, 1, |at| loss(tensor(at)).into_scalar());
}

#[test]
fn bf16_is_rotated_by_angles_in_f32() {
    let device = Device::flex();
    let x = fill([1, 2, 1, 8], 1, &device, DType::BF16);
    let [cos, sin] = tables(&[&[100_003]], 4, DType::F32);
    let wide = rope(x.clone().cast(DType::F32), cos.clone(), sin.clone());
    let y = rope(x, cos, sin);
    assert_eq!(y.dtype(), DType::BF16);
    assert_eq!(values(y), values(wide.cast(DType::BF16)));
}

#[test]
fn merging_the_heads_of_the_output_copies_nothing() {
    let x = fill([2, 3, 4, 6], 1, &Device::flex(), DType::F32);
    let [cos, sin] = tables(&[&[0, 1, 2, 3]], 3, DType::F32);
    let merged = rope(x, cos, sin).swap_dims(1, 2);
    let merged = merged
        .try_into_primitive::<burn::backend::Flex>()
        .expect("the tensor is on flex");
    assert!(merged.is_contiguous());
}

#[test]
fn empty_input_gives_empty_output() {
    let device = Device::flex();
    let [cos, sin] = tables(&[&[0, 1, 2]], 2, DType::F32);
    let y = rope(Tensor::zeros([0, 2, 3, 4], &device), cos, sin);
    assert_eq!(y.dims(), [0, 2, 3, 4]);
}

#[test]
fn threads_leave_the_bits_alone() {
    let positions = (0..301).collect::<Vec<_>>();
    let on = |threads| with_threads(threads, || run([2, 3, 301, 32], &[&positions]));
    assert_eq!(on(1), on(2));
}

#[test]
#[should_panic(expected = "rope: cos must be [batch or 1, seq, head_dim/2]")]
fn rejects_tables_of_another_length() {
    let [cos, sin] = tables(&[&[0, 1]], 2, DType::F32);
    let _ = rope(Tensor::zeros([1, 1, 3, 4], &Device::flex()), cos, sin);
}

#[test]
#[should_panic(expected = "rope: head_dim 3 must be even")]
fn rejects_an_odd_head_dim() {
    let [cos, sin] = tables(&[&[0]], 1, DType::F32);
    let _ = rope(Tensor::zeros([1, 1, 1, 3], &Device::flex()), cos, sin);
}
