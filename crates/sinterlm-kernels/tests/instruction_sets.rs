//! The loops of this crate on each instruction set. A binary of its own, as the cap on instruction
//! sets is set for the whole process; one test, as tests run side by side.

use burn::tensor::{Device, Tensor, TensorData};
use sinterlm_kernels::{
    AdamWStep, AttentionOptions, GeluKind, Isa, Moment, MomentFormat, MomentKind, RowLayout, adamw,
    blend, causal_attention, dropout, gelu, layer_norm, muon_momentum, set_max_isa, sum_of_squares,
};

/// Outputs and input gradients of the kernels without matrix products.
fn run() -> Vec<Vec<f32>> {
    let device = Device::flex().autodiff();
    let numbers = (0..3 * 77)
        .map(|i| (i as f32 * 0.7).sin() * 4.0)
        .collect::<Vec<_>>();
    let x = Tensor::<2>::from_data(TensorData::new(numbers, [3, 77]), &device).require_grad();
    let results = [
        gelu(x.clone(), GeluKind::Tanh),
        gelu(x.clone(), GeluKind::Exact),
        layer_norm(x.clone(), Tensor::ones([77], &device), None, 1e-5),
        dropout(x.clone(), 0.3, 7),
    ];
    let vector = |tensor: Tensor<2>| {
        tensor
            .into_data()
            .try_to_vec::<f32>()
            .expect("f32 stays f32")
    };
    results
        .into_iter()
        .flat_map(|y| {
            let gradients = (y.clone() * y.clone()).sum().backward();
            [vector(y), vector(x.grad(&gradients).expect("x is tracked"))]
        })
        .collect()
}

/// Attention with every option, and the sum of its squares.
fn attend() -> (Vec<f32>, u64) {
    let numbers = (0..2 * 90 * 16)
        .map(|i| (i as f32 * 0.713).sin())
        .collect::<Vec<_>>();
    let x = Tensor::<4>::from_data(TensorData::new(numbers, [1, 2, 90, 16]), &Device::flex());
    let options = AttentionOptions {
        dropout: Some((0.2, 11)),
        softcap: Some(3.0),
        scale: None,
    };
    let layout = RowLayout::dense(1, 90);
    let out = causal_attention(x.clone(), x.clone(), x, &layout, &options);
    let sum = sum_of_squares(out.clone()).to_bits();
    (
        out.into_data()
            .try_into_vec::<f32>()
            .expect("an f32 tensor"),
        sum,
    )
}

/// Weights and moments after steps of both update rules, in each format.
fn update() -> Vec<Vec<f32>> {
    let device = Device::flex();
    let of = |numbers: Vec<f32>| Tensor::<1>::from_data(TensorData::new(numbers, [700]), &device);
    let formats = [MomentFormat::F32, MomentFormat::Bf16, MomentFormat::Int8];
    let updated = formats.into_iter().flat_map(|format| {
        let zeros = |kind| Moment::zeros(700, kind, format, &device);
        let mut weight = Tensor::zeros([700], &device);
        let [mut m, mut v] = [MomentKind::First, MomentKind::Second].map(zeros);
        let mut average = zeros(MomentKind::First);
        for step in 1..4 {
            let of_step = |i: u64| ((i * step) as f32 * 0.37).sin() * 0.01 * (i % 13) as f32;
            let grad = of((0..700).map(of_step).collect());
            let rates = AdamWStep {
                lr: 1e-2,
                beta1: 0.9,
                beta2: 0.95,
                eps: 1e-8,
                weight_decay: 0.1,
                step,
                grad_scale: 0.7,
            };
            (weight, m, v) = adamw(weight, grad.clone(), m, v, &rates);
            let ahead;
            (ahead, average) = muon_momentum(grad, average, 0.95, 0.7);
            weight = blend(weight, 0.99, ahead, -0.02);
        }
        [m, v, average]
            .map(Moment::into_values)
            .into_iter()
            .chain([weight])
    });
    updated
        .map(|tensor| tensor.into_data().try_into_vec().expect("f32"))
        .collect()
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    let [baseline, avx2, avx512] = [Isa::Baseline, Isa::Avx2, Isa::Avx512].map(|isa| {
        set_max_isa(isa);
        (run(), attend(), update())
    });
    assert_eq!(baseline, avx2);
    assert_eq!(baseline, avx512);
}
