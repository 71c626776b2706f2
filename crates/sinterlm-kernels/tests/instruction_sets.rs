//! The crate's own loops under each instruction set; a binary of its own, as the cap holds for the
//! whole process.
#![cfg(feature = "flex")]

use burn::tensor::{Device, Tensor, TensorData};
use sinterlm_kernels::{
    AttentionOptions, Isa, RowLayout, causal_attention, set_max_isa, sum_of_squares,
};

#[test]
fn narrower_vectors_leave_every_bit() {
    let run = |isa| {
        set_max_isa(isa);
        let shape = [1, 2, 90, 16];
        let values: Vec<f32> = (0..2 * 90 * 16).map(|i| (i as f32 * 0.713).sin()).collect();
        let x = Tensor::<4>::from_data(TensorData::new(values, shape), &Device::flex());
        let options = AttentionOptions {
            dropout: Some((0.2, 11)),
            softcap: Some(3.0),
            ..AttentionOptions::default()
        };
        let layout = RowLayout::dense(1, 90);
        let out = causal_attention(x.clone(), x.clone(), x.clone(), &layout, &options);
        (
            sum_of_squares(x).to_bits(),
            out.into_data().try_into_vec::<f32>().unwrap(),
        )
    };
    let widest = run(Isa::Avx512);
    assert_eq!(widest, run(Isa::Avx2));
    assert_eq!(widest, run(Isa::Baseline));
}
