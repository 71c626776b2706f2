//! Packed weights: both routes, all formats, any number of rows.

use burn::tensor::{Device, Int, Tensor};

use super::*;
use crate::{
    check::{assert_close, fill, numbers, values, with_threads},
    with_route,
};

const FORMATS: [PackedFormat; 5] = [
    PackedFormat::F16,
    PackedFormat::Bf16,
    PackedFormat::Q8_0,
    PackedFormat::Q4_0,
    PackedFormat::Q4_1,
];

/// Blocks of numbers in [-1, 1): scales of up to 1/64, any codes.
fn bytes(format: PackedFormat, blocks: usize, seed: u64) -> Vec<u8> {
    let numbers = numbers(blocks * 64, seed);
    let mut bytes = Vec::new();
    for block in numbers.chunks_exact(64) {
        let code = |x: &f64| ((x + 1.0) * 128.0) as u8;
        let half = |x: f64| burn::tensor::f16::from_f64(x).to_le_bytes();
        match format {
            PackedFormat::F16 => block[..32].iter().for_each(|&x| bytes.extend(half(x))),
            PackedFormat::Bf16 => block[..32].iter().for_each(|&x| {
                bytes.extend(burn::tensor::bf16::from_f64(x).to_le_bytes());
            }),
            PackedFormat::Q8_0 => {
                bytes.extend(half(block[0] / 64.0));
                bytes.extend(block[1..33].iter().map(code));
            }
            PackedFormat::Q4_0 => {
                bytes.extend(half(block[0] / 64.0));
                bytes.extend(block[1..17].iter().map(code));
            }
            PackedFormat::Q4_1 => {
                bytes.extend(half(block[0] / 64.0));
                bytes.extend(half(block[1] / 8.0));
                bytes.extend(block[2..18].iter().map(code));
            }
        }
    }
    bytes
}

fn matrix(format: PackedFormat, shape: [usize; 2], seed: u64) -> PackedMatrix {
    let bytes = bytes(format, shape[0] * shape[1] / 32, seed);
    PackedMatrix::from_bytes(&bytes, format, shape, &Device::flex())
}

#[test]
fn both_routes_unpack_the_same_bits() {
    for format in FORMATS {
        let weight = matrix(format, [7, 96], 1);
        let unpack = |route| with_route(route, || weight.unpack().into_data());
        assert_eq!(unpack(Route::Native), unpack(Route::Composed), "{format:?}");
        let ids = Tensor::<2, Int>::from_data([[6, 0], [3, 3]], &Device::flex());
        let rows = |route| with_route(route, || weight.rows(ids.clone()).into_data());
        assert_eq!(rows(Route::Native), rows(Route::Composed), "{format:?}");
        let all = weight.unpack().into_data();
        let row = &all.as_slice::<f32>().unwrap()[6 * 96..];
        assert_eq!(rows(Route::Native).as_slice::<f32>().unwrap()[..96], *row);
    }
}

#[test]
fn every_half_precision_number_has_its_value() {
    let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let device = Device::flex();
    let weight = PackedMatrix::from_bytes(&bytes, PackedFormat::F16, [1 << 11, 32], &device);
    let found = weight.unpack().into_data();
    for (bits, &found) in found.as_slice::<f32>().unwrap().iter().enumerate() {
        let expected = burn::tensor::f16::from_bits(bits as u16).to_f32();
        let same = found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
        assert!(same, "{bits:#06x}: {found} is not {expected}");
    }
}

#[test]
fn a_product_is_that_with_the_unpacked_weight() {
    for format in FORMATS {
        for rows in [1, 2, 4, 7, 64, 65, 130] {
            let weight = matrix(format, [101, 160], 2);
            let device = Device::flex();
            let x = fill([rows, 160], 3, &device, DType::F32);
            let bias = fill([101], 4, &device, DType::F32);
            let found = packed_linear(x.clone(), &weight, Some(bias.clone()));
            let unpacked = weight.unpack();
            let expected = linear(x, unpacked, Some(bias), MatmulPrecision::F32);
            let name = format!("{format:?}, {rows} rows");
            assert_close(&name, &values(found), &values(expected), 1e-5);
        }
    }
}

#[test]
fn a_large_weight_is_unpacked_in_parts() {
    let weight = matrix(PackedFormat::Q4_0, [18_000, 480], 2);
    let device = Device::flex();
    let x = fill([66, 480], 3, &device, DType::F32);
    let bias = fill([18_000], 4, &device, DType::F32);
    let found = packed_linear(x.clone(), &weight, Some(bias.clone()));
    let expected = linear(x, weight.unpack(), Some(bias), MatmulPrecision::F32);
    assert_close("y", &values(found), &values(expected), 1e-5);
}

#[test]
fn a_row_does_not_depend_on_the_others_or_on_threads() {
    let weight = matrix(PackedFormat::Q4_1, [300, 576], 5);
    let x = fill([9, 576], 6, &Device::flex(), DType::F32);
    let all = with_threads(2, || packed_linear(x.clone(), &weight, None)).into_data();
    let alone = with_threads(1, || {
        packed_linear(x.slice([8..9, 0..576]), &weight, None).into_data()
    });
    let all = all.as_slice::<f32>().unwrap();
    assert_eq!(all[8 * 300..], *alone.as_slice::<f32>().unwrap());
}

#[test]
fn gradients_pass_through() {
    let device = Device::flex().autodiff();
    let weight = matrix(PackedFormat::Q8_0, [3, 32], 7);
    let x = fill([2, 32], 8, &device, DType::F32).require_grad();
    let gradients = packed_linear(x.clone(), &weight, None).sum().backward();
    let found = values(x.grad(&gradients).unwrap());
    let sums = values(weight.unpack().sum_dim(0));
    assert_close("dx", &found[..32], &sums, 1e-6);
    assert_close("dx", &found[32..], &sums, 1e-6);
}

#[test]
#[should_panic(expected = "id 9 is not below vocab 4")]
fn a_row_beyond_the_matrix_is_refused() {
    let weight = matrix(PackedFormat::Bf16, [4, 32], 9);
    weight.rows(Tensor::from_data([[9]], &Device::flex()));
}

#[test]
fn the_gradient_of_the_input_is_that_of_the_unpacked_weight() {
    let device = Device::flex().autodiff();
    // The last shape takes several parts.
    for (format, shape, rows) in [
        (PackedFormat::F16, [101, 160], 1),
        (PackedFormat::Bf16, [33, 64], 7),
        (PackedFormat::Q8_0, [101, 160], 65),
        (PackedFormat::Q4_0, [7, 32], 3),
        (PackedFormat::Q4_1, [9_000, 480], 5),
    ] {
        let weight = matrix(format, shape, 2);
        let gradients = |product: &dyn Fn(Tensor<2>, Tensor<1>) -> Tensor<2>| {
            let x = fill([rows, shape[1]], 3, &device, DType::F32).require_grad();
            let bias = fill([shape[0]], 4, &device, DType::F32).require_grad();
            let dy = fill([rows, shape[0]], 5, &device, DType::F32);
            let y = product(x.clone(), bias.clone());
            let mut tape = (y.clone() * dy).sum().backward();
            let [dx, db] = [
                values(x.grad_remove(&mut tape).expect("x is on the tape")),
                values(bias.grad_remove(&mut tape).expect("so is the bias")),
            ];
            [values(y), dx, db]
        };
        let found = gradients(&|x, bias| packed_linear(x, &weight, Some(bias)));
        let dense = weight.unpack().autodiff();
        let expected =
            gradients(&|x, bias| linear(x, dense.clone(), Some(bias), MatmulPrecision::F32));
        for (name, (found, expected)) in ["y", "dx", "db"]
            .into_iter()
            .zip(found.iter().zip(&expected))
        {
            assert_close(&format!("{format:?} {name}"), found, expected, 2e-5);
        }
    }
}

#[test]
fn a_product_of_an_input_that_is_not_tracked_is_not_on_the_tape() {
    let weight = matrix(PackedFormat::Q8_0, [33, 64], 2);
    let x = fill([3, 64], 3, &Device::flex().autodiff(), DType::F32);
    assert!(!packed_linear(x.clone(), &weight, None).is_tracked());
    assert!(packed_linear(x.require_grad(), &weight, None).is_tracked());
}
