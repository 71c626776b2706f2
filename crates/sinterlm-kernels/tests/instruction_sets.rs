//! The loops of this crate on each instruction set. A binary of its own, as the cap on instruction
//! sets is set for the whole process; one test, as tests run side by side.

use burn::tensor::{Device, Tensor, TensorData};
use sinterlm_kernels::{
    AdamWStep, AttentionOptions, CrossEntropyOptions, GeluKind, Isa, MatmulPrecision, Moment,
    MomentFormat, MomentKind, PackedFormat, PackedMatrix, RowLayout, adamw, blend,
    causal_attention, dropout, gelu, layer_norm, linear, linear_logprobs, muon_momentum,
    packed_linear, rms_norm, rope, set_max_isa, sum_of_squares, swiglu,
};

/// Outputs and input gradients of the kernels but attention.
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
        rms_norm(x.clone(), Tensor::ones([77], &device), 1e-5),
        swiglu(x.clone(), x.clone() + 1.0),
        rotated(x.clone()),
        logprobs(x.clone()),
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

/// Three tokens of seven heads, each rotated by angles of its own.
fn rotated(x: Tensor<2>) -> Tensor<2> {
    let device = Device::flex();
    let angles = (0..3 * 5).map(|i| i as f32 * 0.4).collect::<Vec<_>>();
    let angles = Tensor::<3>::from_data(TensorData::new(angles, [1, 3, 5]), &device);
    let x = x.narrow(1, 0, 70).reshape([1, 3, 7, 10]).swap_dims(1, 2);
    let y = rope(x, angles.clone().cos(), angles.sin());
    y.swap_dims(1, 2).reshape([3, 70])
}

/// Log-probabilities under a vocabulary of 100, and through their gradient the cross-entropy's.
fn logprobs(x: Tensor<2>) -> Tensor<2> {
    let weight = (0..100 * 77)
        .map(|i| (i as f32 * 0.31).cos())
        .collect::<Vec<_>>();
    let weight = Tensor::<2>::from_data(TensorData::new(weight, [100, 77]), &Device::flex());
    let targets = Tensor::from_data([3, 1, 99], &Device::flex());
    linear_logprobs(x, weight, targets, &CrossEntropyOptions::default()).unsqueeze_dim(1)
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
        ..AttentionOptions::default()
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

/// Products with AVX-512 are our own, others those of the `gemm` crate; sums differ in order.
fn multiply() -> Vec<f32> {
    let device = Device::flex();
    let matrix = |rows: usize, cols: usize| {
        let numbers = (0..rows * cols)
            .map(|i| (i as f32 * 0.917).sin())
            .collect::<Vec<_>>();
        Tensor::<2>::from_data(TensorData::new(numbers, [rows, cols]), &device)
    };
    let (x, weight) = (matrix(130, 111), matrix(97, 111));
    [MatmulPrecision::F32, MatmulPrecision::Bf16]
        .into_iter()
        .flat_map(|precision| {
            let y = linear(x.clone(), weight.clone(), None, precision).into_data();
            y.try_into_vec::<f32>().expect("an f32 tensor")
        })
        .chain(multiply_packed(&matrix(5, 96)))
        .collect()
}

/// Products with packed weights of each format, the scales of blocks below 0.01.
fn multiply_packed(x: &Tensor<2>) -> Vec<f32> {
    use PackedFormat::{Bf16, F16, Q4_0, Q4_1, Q8_0};
    let of = |format: PackedFormat| {
        let size = format.block_bytes();
        let scale_bytes = [2, 4][usize::from(format == Q4_1)];
        let byte = |at: usize| match at % size {
            place if format == F16 || format == Bf16 || place < scale_bytes => {
                [(at * 37 % 251) as u8, (at * 11 % 33) as u8][at % 2]
            }
            _ => (at * 37 % 251) as u8,
        };
        let bytes: Vec<u8> = (0..7 * 3 * size).map(byte).collect();
        let weight = PackedMatrix::from_bytes(&bytes, format, [7, 96], &x.device());
        let y = packed_linear(x.clone(), &weight, None);
        let numbers = Tensor::cat(vec![y.flatten::<1>(0, 1), weight.unpack().flatten(0, 1)], 0);
        numbers
            .into_data()
            .try_into_vec::<f32>()
            .expect("an f32 tensor")
    };
    [F16, Bf16, Q8_0, Q4_0, Q4_1]
        .into_iter()
        .flat_map(of)
        .collect()
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

/// Products of a few rows, whose bits must not depend on the other rows of a batch.
fn rows_come_out_as_alone() {
    let device = Device::flex();
    let fill = |shape: [usize; 2], step: f32| {
        let numbers: Vec<f32> = (0..shape[0] * shape[1])
            .map(|i| (i as f32 * step).sin())
            .collect();
        Tensor::<2>::from_data(TensorData::new(numbers, shape), &device)
    };
    for (d_in, d_out) in [(5, 3), (77, 130), (600, 34)] {
        let (x, weight) = (fill([18, d_in], 0.7), fill([d_out, d_in], 0.31));
        let times = |x: Tensor<2>| -> Vec<f32> {
            let y = linear(x, weight.clone(), None, MatmulPrecision::F32);
            y.into_data().try_to_vec().expect("f32 stays f32")
        };
        let alone: Vec<f32> = (0..18)
            .flat_map(|row| times(x.clone().narrow(0, row, 1)))
            .collect();
        for rows in [2, 4, 9, 14, 18] {
            assert_eq!(times(x.clone().narrow(0, 0, rows)), alone[..rows * d_out]);
        }
        let exact = x.matmul(weight.transpose()).into_data();
        for (a, b) in alone.iter().zip(exact.as_slice::<f32>().expect("f32")) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    let [baseline, avx2, avx512] = [Isa::Baseline, Isa::Avx2, Isa::Avx512].map(|isa| {
        set_max_isa(isa);
        (run(), attend(), update())
    });
    assert_eq!(baseline, avx2);
    assert_eq!(baseline, avx512);
    let products = [Isa::Baseline, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16].map(|isa| {
        set_max_isa(isa);
        rows_come_out_as_alone();
        multiply()
    });
    for other in &products[1..] {
        for (a, b) in products[0].iter().zip(other) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }
}
