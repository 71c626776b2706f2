//! Single operations, forward and backward: which shapes are measured, what each costs in
//! operations, and how one is set up.

use std::hint::black_box;

use sinterlm::burn::tensor::{Device, Distribution, Int, Tensor};
use sinterlm::config::KeyRng;
use sinterlm::kernels::{
    self, AdamWStep, AttentionOptions, GeluKind, MatmulPrecision, Moment, MomentFormat, MomentKind,
    RowLayout,
};
use sinterlm::losses::CrossEntropyOptions;
use sinterlm::model::GptConfig;

/// One operation at one shape. All but the optimizer's run forward and backward.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// With bias: `[tokens, d_in, d_out]`.
    Linear([usize; 3], MatmulPrecision),
    /// Attention of dense rows: `[rows, seq, heads, head_dim]`.
    CausalAttention([usize; 4], MatmulPrecision),
    /// Head and loss: `[tokens, d_model, vocab_size]`.
    LinearCrossEntropy([usize; 3], MatmulPrecision),
    /// `[tokens, d_model]`.
    LayerNorm([usize; 2]),
    /// `[tokens, d_ff]`.
    Gelu([usize; 2]),
    /// `[tokens, d_model, vocab_size]`.
    Embedding([usize; 3]),
    /// The sum that ends each half of a block: `[tokens, d_model]`.
    Residual([usize; 2]),
    /// Part of the norm of all gradients, over that many values.
    SumOfSquares(usize),
    /// Update of that many values.
    AdamW(usize),
    /// Muon's five iterations on square matrices side by side: `[matrices, width]`.
    Orthogonalize([usize; 2], MatmulPrecision),
}

/// The operations of `cargo bench --bench kernels`, at shapes of the reference model.
pub fn kernel_ops() -> Vec<Op> {
    let (tokens, d_model, d_ff, vocab_size) = (1024, 512, 2048, 50257);
    let mut ops = Vec::new();
    for precision in [MatmulPrecision::F32, MatmulPrecision::Bf16] {
        for [d_in, d_out] in [[d_model, d_model], [d_model, d_ff], [d_ff, d_model]] {
            ops.push(Op::Linear([tokens, d_in, d_out], precision));
        }
        for seq in [256, 512, 1024, 2048] {
            ops.push(Op::CausalAttention([2048 / seq, seq, 8, 64], precision));
        }
        ops.push(Op::LinearCrossEntropy(
            [512, d_model, vocab_size],
            precision,
        ));
        ops.push(Op::Orthogonalize([8, 512], precision));
    }
    ops.extend([
        Op::LayerNorm([tokens, d_model]),
        Op::Gelu([tokens, d_ff]),
        Op::Embedding([tokens, d_model, vocab_size]),
        Op::AdamW(d_model * vocab_size),
    ]);
    ops
}

/// What one training step of a model is made of: each operation and how often it runs.
pub fn step_ops(
    model: &GptConfig,
    rows: usize,
    seq: usize,
    precision: MatmulPrecision,
) -> Vec<(usize, Op)> {
    let (tokens, d_model, d_ff) = (rows * seq, model.d_model, model.d_ff());
    let (layers, vocab_size) = (model.n_layers, model.vocab_size);
    let linear = |d_in, d_out| Op::Linear([tokens, d_in, d_out], precision);
    let attention = Op::CausalAttention([rows, seq, model.n_heads, model.head_dim()], precision);
    let head = Op::LinearCrossEntropy([tokens, d_model, vocab_size], precision);
    let values = model.parameters().total as usize;
    vec![
        (1, Op::Embedding([tokens, d_model, vocab_size])),
        (2 * layers + 1, Op::LayerNorm([tokens, d_model])),
        (4 * layers, linear(d_model, d_model)),
        (layers, attention),
        (layers, linear(d_model, d_ff)),
        (layers, Op::Gelu([tokens, d_ff])),
        (layers, linear(d_ff, d_model)),
        (2 * layers, Op::Residual([tokens, d_model])),
        (1, head),
        (1, Op::SumOfSquares(values)),
        (1, Op::AdamW(values)),
    ]
}

impl Op {
    /// Name in baselines and filters.
    pub fn id(&self) -> String {
        let name = match *self {
            Self::Linear([n, i, o], _) => format!("linear/n{n}_i{i}_o{o}"),
            Self::CausalAttention([b, s, h, d], _) => {
                format!("causal_attention/b{b}_s{s}_h{h}_d{d}")
            }
            Self::LinearCrossEntropy([n, d, v], _) => {
                format!("linear_cross_entropy/n{n}_d{d}_v{v}")
            }
            Self::LayerNorm([n, d]) => format!("layer_norm/n{n}_d{d}"),
            Self::Gelu([n, d]) => format!("gelu/n{n}_d{d}"),
            Self::Embedding([n, d, v]) => format!("embedding/n{n}_d{d}_v{v}"),
            Self::Residual([n, d]) => format!("residual/n{n}_d{d}"),
            Self::SumOfSquares(values) => format!("sum_of_squares/n{values}"),
            Self::AdamW(values) => format!("adamw/n{values}"),
            Self::Orthogonalize([n, d], _) => format!("orthogonalize/n{n}_d{d}"),
        };
        let precision = match self {
            Self::Linear(_, MatmulPrecision::Bf16)
            | Self::CausalAttention(_, MatmulPrecision::Bf16)
            | Self::LinearCrossEntropy(_, MatmulPrecision::Bf16)
            | Self::Orthogonalize(_, MatmulPrecision::Bf16) => "bf16",
            _ => "f32",
        };
        format!("kernels/{name}/{precision}/flex")
    }

    /// Tokens of one run, or values where no token takes part.
    pub fn elements(&self) -> usize {
        match *self {
            Self::CausalAttention([rows, seq, ..], _) => rows * seq,
            Self::Linear([n, ..], _)
            | Self::LinearCrossEntropy([n, ..], _)
            | Self::Embedding([n, ..])
            | Self::LayerNorm([n, _])
            | Self::Gelu([n, _])
            | Self::Residual([n, _])
            | Self::SumOfSquares(n)
            | Self::AdamW(n) => n,
            Self::Orthogonalize([matrices, width], _) => matrices * width * width,
        }
    }

    /// Floating-point operations of the matrix products, forward and backward, as
    /// `GptConfig::train_flops_per_token` counts them; none where memory is the limit.
    pub fn product_flops(&self) -> Option<f64> {
        match *self {
            Self::Linear([tokens, d_in, d_out], _) => Some((6 * tokens * d_in * d_out) as f64),
            Self::LinearCrossEntropy([tokens, d_model, vocab_size], _) => {
                Some((6 * tokens * d_model * vocab_size) as f64)
            }
            Self::CausalAttention([rows, seq, heads, head_dim], _) => {
                Some((6 * rows * seq * seq * heads * head_dim) as f64)
            }
            _ => None,
        }
    }

    /// A function that runs the operation once; its inputs are made here, and its result is checked
    /// here once.
    pub fn start(&self) -> Box<dyn FnMut()> {
        let device = Device::flex();
        let tape = device.clone().autodiff();
        match *self {
            Self::Linear([tokens, d_in, d_out], precision) => {
                let weight = uniform([d_out, d_in], &tape).require_grad();
                let bias = uniform([d_out], &tape).require_grad();
                let x = uniform::<2>([tokens, d_in], &tape).require_grad();
                both_ways(move || {
                    let bias = Some(bias.clone());
                    kernels::linear(x.clone(), weight.clone(), bias, precision)
                })
            }
            Self::CausalAttention([rows, seq, heads, head_dim], precision) => {
                // [batch, seq, heads, head_dim] -> [batch, heads, seq, head_dim], as the model has it
                let part = || {
                    uniform([rows, seq, heads, head_dim], &tape)
                        .swap_dims(1, 2)
                        .require_grad()
                };
                let (q, k, v) = (part(), part(), part());
                let layout = RowLayout::dense(rows, seq);
                let options = AttentionOptions {
                    precision,
                    ..AttentionOptions::default()
                };
                both_ways(move || {
                    kernels::causal_attention(q.clone(), k.clone(), v.clone(), &layout, &options)
                })
            }
            Self::LinearCrossEntropy([tokens, d_model, vocab_size], precision) => {
                let hidden = uniform([tokens, d_model], &tape).require_grad();
                let weight = uniform([vocab_size, d_model], &tape).require_grad();
                let targets = random_ids([tokens], vocab_size, &tape);
                let token_weights = Tensor::ones([tokens], &tape);
                let options = CrossEntropyOptions {
                    precision,
                    ..CrossEntropyOptions::default()
                };
                both_ways(move || {
                    kernels::linear_cross_entropy(
                        hidden.clone(),
                        weight.clone(),
                        targets.clone(),
                        token_weights.clone(),
                        &options,
                    )
                })
            }
            Self::LayerNorm([tokens, d_model]) => {
                let x = uniform([tokens, d_model], &tape).require_grad();
                let weight = uniform([d_model], &tape).require_grad();
                let bias = uniform([d_model], &tape).require_grad();
                both_ways(move || {
                    kernels::layer_norm(x.clone(), weight.clone(), Some(bias.clone()), 1e-5)
                })
            }
            Self::Gelu([tokens, d_ff]) => {
                let x = uniform::<2>([tokens, d_ff], &tape).require_grad();
                both_ways(move || kernels::gelu(x.clone(), GeluKind::Tanh))
            }
            Self::Embedding([tokens, d_model, vocab_size]) => {
                let weight = uniform([vocab_size, d_model], &tape).require_grad();
                let ids = random_ids([1, tokens], vocab_size, &tape);
                both_ways(move || kernels::embedding(weight.clone(), ids.clone()))
            }
            Self::Residual([tokens, d_model]) => {
                let x = uniform::<2>([tokens, d_model], &tape).require_grad();
                let y = uniform::<2>([tokens, d_model], &tape).require_grad();
                both_ways(move || x.clone() + y.clone())
            }
            Self::SumOfSquares(values) => {
                let x = Tensor::<1>::full([values], 0.5, &device);
                let expected = 0.25 * values as f64;
                Box::new(move || {
                    let sum = kernels::sum_of_squares(x.clone());
                    assert!(
                        (sum / expected - 1.0).abs() < 1e-3,
                        "{sum} is not {expected}"
                    );
                })
            }
            Self::AdamW(values) => {
                let grad = Tensor::<1>::full([values], 0.5, &device);
                let moment = |kind| Moment::zeros(values, kind, MomentFormat::F32, &device);
                let mut state = Some((
                    Tensor::<1>::zeros([values], &device),
                    moment(MomentKind::First),
                    moment(MomentKind::Second),
                ));
                let mut step = AdamWStep {
                    lr: 1e-3,
                    beta1: 0.9,
                    beta2: 0.95,
                    eps: 1e-8,
                    weight_decay: 0.1,
                    step: 0,
                    grad_scale: 1.0,
                };
                Box::new(move || {
                    step.step += 1;
                    let (weight, m, v) = state.take().expect("each run puts the state back");
                    let next = kernels::adamw(weight, grad.clone(), m, v, &step);
                    if step.step == 1 {
                        let first = next.0.clone().slice(0..1).into_scalar::<f32>();
                        assert!((first + 1e-3).abs() < 1e-6, "the first step is {first}");
                    }
                    state = Some(next);
                })
            }
            Self::Orthogonalize([matrices, width], precision) => {
                let all: Vec<Tensor<2>> = (0..matrices)
                    .map(|_| uniform([width, width], &device))
                    .collect();
                let first = kernels::orthogonalize(all[0].clone(), 5, precision);
                let norm = kernels::sum_of_squares(first);
                let share = norm / width as f64; // 1 for an orthogonal matrix
                assert!((0.4..1.5).contains(&share), "not orthogonal: {share}");
                Box::new(move || {
                    black_box(kernels::orthogonalize_all(all.clone(), 5, precision));
                })
            }
        }
    }
}

/// Runs `forward` and a backward pass from ones; the first result must be finite and not zero.
fn both_ways<const D: usize>(forward: impl Fn() -> Tensor<D> + 'static) -> Box<dyn FnMut()> {
    let size = kernels::sum_of_squares(forward().without_autodiff());
    assert!(
        size.is_finite() && size > 0.0,
        "the result's norm is {size}"
    );
    Box::new(move || {
        black_box(forward().backward());
    })
}

fn uniform<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), device)
}

fn random_ids<const D: usize>(
    shape: [usize; D],
    vocab_size: usize,
    device: &Device,
) -> Tensor<D, Int> {
    let mut rng = KeyRng::new(0);
    let ids: Vec<i32> = (0..shape.iter().product())
        .map(|_| (rng.next_f32() * vocab_size as f32) as i32)
        .collect();
    Tensor::<1, Int>::from_data(ids.as_slice(), device).reshape(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use sinterlm::kernels::{Route, with_route};
    use sinterlm::model::Preset;

    #[test]
    fn the_parts_of_a_step_have_all_its_operations() {
        let model = Preset::TinyStories.config();
        let parts: f64 = step_ops(&model, 2, 512, MatmulPrecision::F32)
            .iter()
            .map(|(count, op)| *count as f64 * op.product_flops().unwrap_or(0.0))
            .sum();
        let whole = 1024.0 * model.train_flops_per_token(512) as f64;
        assert!((parts / whole - 1.0).abs() < 1e-12, "{parts} of {whole}");
    }

    #[test]
    fn every_part_of_a_small_step_runs_on_both_routes() {
        for precision in [MatmulPrecision::F32, MatmulPrecision::Bf16] {
            for (_, op) in step_ops(&Preset::Tiny.config(), 2, 16, precision) {
                op.start()();
                with_route(Route::Composed, || op.start()());
            }
        }
    }

    #[test]
    fn every_op_has_an_id_of_its_own() {
        let ops = kernel_ops();
        let ids: BTreeSet<String> = ops.iter().map(Op::id).collect();
        assert_eq!(ids.len(), ops.len());
    }
}
