//! Each format against its error bound, its size, and itself: what was stored once stays.

use burn::tensor::{Device, Tensor, TensorData};

use super::*;
use crate::{
    check::{numbers, with_threads},
    with_route,
};

const ROUTES: [Route; 2] = [Route::Native, Route::Composed];
const KINDS: [MomentKind; 2] = [MomentKind::First, MomentKind::Second];
const FORMATS: [MomentFormat; 3] = [MomentFormat::F32, MomentFormat::Bf16, MomentFormat::Int8];

/// Values over many orders of magnitude, zeros among them; none negative for a second moment.
fn spread(len: usize, kind: MomentKind) -> Vec<f32> {
    let (sizes, signs) = (numbers(len, 1), numbers(len, 2));
    let values = sizes
        .iter()
        .zip(signs)
        .enumerate()
        .map(|(i, (size, sign))| {
            let value = (10f64.powf(4.0 * size) * sign) as f32 * 1e-3;
            match kind {
                _ if i % 97 == 0 => 0.0,
                MomentKind::First => value,
                MomentKind::Second => value * value,
            }
        });
    values.collect()
}

fn of(values: &[f32]) -> Tensor<1> {
    let data = TensorData::new(values.to_vec(), [values.len()]);
    Tensor::from_data(data, &Device::flex())
}

fn stored(values: &[f32], kind: MomentKind, format: MomentFormat) -> Vec<f32> {
    let moment = Moment::new(of(values), kind, format).into_values();
    moment.into_data().try_into_vec().unwrap()
}

#[test]
fn what_is_stored_is_near_the_value() {
    for (kind, levels, power) in [
        (MomentKind::First, 127.0, 4),
        (MomentKind::Second, 255.0, 8),
    ] {
        let values = spread(1000, kind);
        for route in ROUTES {
            let found = with_route(route, || stored(&values, kind, MomentFormat::Int8));
            for (block, found) in values.chunks(BLOCK).zip(found.chunks(BLOCK)) {
                let scale = block.iter().fold(0.0f64, |s, x| s.max(f64::from(x.abs())));
                let root = |x: f32| (f64::from(x.abs()) / scale).powf(1.0 / f64::from(power));
                for (&x, &y) in block.iter().zip(found) {
                    // Half a step of the law, or the whole first one of a second moment.
                    let off = (root(x) - root(y)).abs() * levels;
                    let lifted = kind == MomentKind::Second && root(x) * levels < 0.5;
                    let what = format!("{route:?} {kind:?}: {x} became {y}");
                    assert!(off < if lifted { 1.001 } else { 0.501 }, "{what}");
                    assert!(y == 0.0 || y.signum() == x.signum(), "{what}");
                    assert!(
                        kind == MomentKind::First || (x == 0.0) == (y == 0.0),
                        "{what}"
                    );
                }
            }
        }
        let bf16 = stored(&values, kind, MomentFormat::Bf16);
        for (x, y) in values.iter().zip(bf16) {
            assert!((x - y).abs() <= x.abs() / 256.0, "{x} became {y}");
        }
    }
}

#[test]
fn storing_again_changes_no_bit() {
    // Down to where the last levels are subnormal numbers.
    for factor in [1.0, 1e-15, 1e-30] {
        for kind in KINDS {
            let values: Vec<f32> = spread(1500, kind).iter().map(|x| x * factor).collect();
            for format in FORMATS {
                let once = stored(&values, kind, format);
                assert_eq!(once, stored(&once, kind, format), "{kind:?} {format:?}");
            }
        }
    }
}

#[test]
fn the_bits_depend_neither_on_threads_nor_on_the_length_of_a_block() {
    for kind in KINDS {
        let values = spread(40_000 + 3, kind);
        let run = |threads| with_threads(threads, || stored(&values, kind, MomentFormat::Int8));
        assert_eq!(run(1), run(2));
        // The beginning of a longer vector is stored as if it stood alone.
        let whole = &run(2)[..2 * BLOCK];
        let alone = stored(&values[..2 * BLOCK], kind, MomentFormat::Int8);
        assert_eq!(whole, alone);
    }
}

#[test]
fn eight_bits_take_a_quarter_of_the_memory_and_bf16_a_half() {
    let device = Device::flex();
    let size = |format| Moment::zeros(1 << 16, MomentKind::First, format, &device).size_bytes();
    assert_eq!(FORMATS.map(size), [4 << 16, 2 << 16, (1 << 16) + (1 << 10)]);
}

#[test]
fn native_updates_write_over_the_buffers_they_are_given() {
    let address = |moment: Moment| {
        let mut buffers = native::Buffers::new(moment);
        let address = match &mut buffers.pieces()[0] {
            native::Piece::F32(values) => values.as_ptr() as usize,
            native::Piece::Bf16(values) => values.as_ptr() as usize,
            native::Piece::Int8(_, words, _) => words.as_ptr() as usize,
        };
        (address, buffers.into_moment())
    };
    for format in FORMATS {
        let zeros = Moment::zeros(5000, MomentKind::First, format, &Device::flex());
        let (before, moment) = address(zeros);
        let grad = Tensor::<1>::ones([5000], &Device::flex());
        let (_, moment) = crate::muon_momentum(grad, moment, 0.9, 1.0);
        assert_eq!(before, address(moment).0, "{format:?}");
    }
}

#[test]
fn what_is_not_finite_leaves_the_other_blocks_alone() {
    let mut values = spread(3 * BLOCK, MomentKind::Second);
    let before = stored(&values, MomentKind::Second, MomentFormat::Int8);
    values[BLOCK + 5] = f32::INFINITY;
    let after = stored(&values, MomentKind::Second, MomentFormat::Int8);
    assert_eq!(before[..BLOCK], after[..BLOCK]);
    assert_eq!(before[2 * BLOCK..], after[2 * BLOCK..]);
    assert!(after.iter().all(|x| x.is_finite()));
}

#[test]
fn codes_put_back_are_the_moment_that_they_were_taken_of() {
    let device = Device::flex();
    for (kind, route) in KINDS
        .into_iter()
        .flat_map(|kind| ROUTES.map(|route| (kind, route)))
    {
        for len in [1, 255, 256, 1000] {
            let values = spread(len, kind);
            let moment = with_route(route, || Moment::new(of(&values), kind, MomentFormat::Int8));
            let codes = moment.to_codes().unwrap();
            assert_eq!(
                (codes.codes.len(), codes.scales.len()),
                (len, len.div_ceil(256))
            );
            let back = Moment::from_codes(codes.clone(), kind, &device).unwrap();
            assert_eq!(back.to_codes().unwrap(), codes);
            let bits = |moment: Moment| moment.into_values().into_data();
            assert_eq!(bits(back), bits(moment), "{route:?} {kind:?} {len}");
            let fewer = MomentCodes {
                scales: Vec::new(),
                ..codes
            };
            assert!(Moment::from_codes(fewer, kind, &device).is_none());
        }
    }
    let floats = Moment::zeros(9, MomentKind::First, MomentFormat::F32, &device);
    assert_eq!(floats.to_codes(), None);
}
