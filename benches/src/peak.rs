//! The yardstick: how many operations a second this machine reaches in f32 matrix products.

use std::hint::black_box;
use std::time::Instant;

use sinterlm::burn::tensor::{Device, Distribution, Tensor};
use sinterlm::kernels::{self, MatmulPrecision};

/// Rows, depth and columns: the usual square, and products as a model of width 512 has them.
const SHAPES: [[usize; 3]; 3] = [[1024, 1024, 1024], [2048, 512, 2048], [2048, 2048, 512]];

/// Tries of each shape by each way.
const TRIES: usize = 4;

/// Floating-point operations per second of the fastest f32 matrix product found, on all threads:
/// the best single try over a few shapes, by `kernels::linear` and by burn's own product.
///
/// Takes about half a second. A step can't beat it on the whole, since all its work beside products
/// comes on top; single products of a lucky shape can, by a few per cent.
pub fn product_peak(device: &Device) -> f64 {
    let mut best = 0.0_f64;
    for [rows, depth, cols] in SHAPES {
        let random = |shape| Tensor::<2>::random(shape, Distribution::Uniform(-1.0, 1.0), device);
        let (a, b) = (random([rows, depth]), random([cols, depth]));
        let ways: [&dyn Fn() -> Tensor<2>; 2] = [
            &|| kernels::linear(a.clone(), b.clone(), None, MatmulPrecision::F32),
            &|| a.clone().matmul(b.clone().transpose()),
        ];
        for way in ways.iter().cycle().take(TRIES * ways.len()) {
            let started = Instant::now();
            black_box(way());
            device.sync().expect("a product of finite numbers ends");
            let flops = (2 * rows * depth * cols) as f64;
            best = best.max(flops / started.elapsed().as_secs_f64());
        }
    }
    best
}
