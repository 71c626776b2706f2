//! A packed weight stays packed in memory while an input in front of it is trained.
#![cfg(feature = "flex")]

use burn::tensor::{Device, Tensor};
use sinterlm_kernels::{PackedFormat, PackedMatrix, packed_linear, run_on_pool};
use sinterlm_testkit::peak_bytes;

#[test]
fn a_forward_and_a_backward_pass_never_hold_the_dense_weight() {
    const NAME: &str = "a_forward_and_a_backward_pass_never_hold_the_dense_weight";
    const SHAPE: [usize; 2] = [8192, 4096];
    let peaks = peak_bytes(NAME, ["packed", "trained"], |mode| {
        run_on_pool(None, || {
            let device = Device::flex();
            let blocks = SHAPE[0] * SHAPE[1] / 32;
            let bytes = vec![0x11; blocks * PackedFormat::Q4_0.block_bytes()];
            let weight = PackedMatrix::from_bytes(&bytes, PackedFormat::Q4_0, SHAPE, &device);
            drop(bytes);
            if mode == "trained" {
                let x = Tensor::<2>::ones([70, SHAPE[1]], &device.autodiff()).require_grad();
                let y = packed_linear(x.clone(), &weight, None);
                let mut tape = y.sum().backward();
                assert!(x.grad_remove(&mut tape).is_some());
            }
        });
    });
    let Some([packed, trained]) = peaks else {
        return;
    };
    let (more, dense) = (trained - packed, 4 * SHAPE[0] as u64 * SHAPE[1] as u64);
    eprintln!(
        "{} MiB more, the dense weight has {}",
        more >> 20,
        dense >> 20
    );
    assert!(
        2 * more < dense,
        "{more} bytes beside a dense weight of {dense}"
    );
}
