//! Every operation against PyTorch's numbers, outputs and all input gradients: on both routes in f32
//! and with products in bf16, composed on bf16 tensors too. Dropout draws from a generator of its own and has no counterpart.
//!
//! Runs on flex, or on the backend that `BURN_DEVICE` names where it was compiled in; there both
//! f32 runs are composed.

use std::sync::LazyLock;

use burn::tensor::{DType, Device, Gradients, Int, Tensor, TensorData};
use sinterlm_kernels::{
    AdamWStep, AttentionOptions, CrossEntropyOptions, GeluKind, MatmulPrecision, Moment,
    MomentFormat, MomentKind, Route, RowLayout, adamw, causal_attention, embedding, gelu,
    layer_norm, linear, linear_cross_entropy, linear_logprobs, orthogonalize, rms_norm, rope,
    swiglu, with_route,
};
use sinterlm_testkit::{
    BF16, Golden, SINGLE_OP_F32, Tolerance, WHOLE_MODEL_F32, assert_close, fixture,
};

static GOLDEN: LazyLock<Golden> = LazyLock::new(|| Golden::load(fixture("kernels.safetensors")));

/// One case of the file in one precision on one route.
struct Run {
    case: &'static str,
    route: Route,
    dtype: DType,
    precision: MatmulPrecision,
    tolerance: Tolerance,
    device: Device,
}

/// Runs `op` on the case's tensors in every form.
fn in_every_form(case: &'static str, op: impl Fn(&Run)) {
    in_f32(case, SINGLE_OP_F32, &op);
    let bf16 = MatmulPrecision::Bf16;
    for (route, dtype) in [
        (Route::Native, DType::F32),
        (Route::Composed, DType::F32),
        (Route::Composed, DType::BF16),
    ] {
        in_form(case, route, dtype, bf16, BF16, &op);
    }
}

fn in_f32(case: &'static str, tolerance: Tolerance, op: impl Fn(&Run)) {
    for route in [Route::Native, Route::Composed] {
        in_form(
            case,
            route,
            DType::F32,
            MatmulPrecision::F32,
            tolerance,
            &op,
        );
    }
}

fn in_form(
    case: &'static str,
    route: Route,
    dtype: DType,
    precision: MatmulPrecision,
    tolerance: Tolerance,
    op: impl Fn(&Run),
) {
    let device = match std::env::var_os("BURN_DEVICE") {
        Some(_) => Device::default(),
        None => Device::flex(),
    };
    let run = Run {
        case,
        route,
        dtype,
        precision,
        tolerance,
        device: device.autodiff(),
    };
    with_route(route, || op(&run));
}

impl Run {
    fn name(&self, name: &str) -> String {
        format!("{}.{name}", self.case)
    }

    fn load<const D: usize>(&self, name: &str, dtype: DType) -> Tensor<D> {
        let name = self.name(name);
        let data = TensorData::new(GOLDEN.f32(&name), GOLDEN.shape(&name));
        Tensor::from_data(data, (&self.device, dtype))
    }

    /// An input with a gradient, in the run's dtype.
    fn leaf<const D: usize>(&self, name: &str) -> Tensor<D> {
        self.load(name, self.dtype).require_grad()
    }

    /// A constant in f32.
    fn constant<const D: usize>(&self, name: &str) -> Tensor<D> {
        self.load(name, DType::F32)
    }

    fn ids<const D: usize>(&self, name: &str) -> Tensor<D, Int> {
        let name = self.name(name);
        let data = TensorData::new(GOLDEN.i64(&name), GOLDEN.shape(&name));
        Tensor::from_data(data, &self.device)
    }

    fn check<const D: usize>(&self, name: &str, found: Tensor<D>) {
        let name = self.name(name);
        assert_eq!(found.dims(), GOLDEN.shape(&name), "{name}");
        let found = found.into_data().iter::<f64>().collect::<Vec<_>>();
        let form = (self.route, self.dtype, self.precision);
        let what = format!("{name}, {form:?}");
        assert_close(&found, GOLDEN.f64(&name), self.tolerance, &what);
    }

    /// Checks the output, and passes the upstream gradient back through it.
    fn backward<const D: usize>(&self, out: Tensor<D>) -> Gradients {
        self.check("out", out.clone());
        let upstream = self.load("upstream", out.dtype());
        (out * upstream).sum().backward()
    }

    fn check_gradient<const D: usize>(&self, name: &str, leaf: &Tensor<D>, grads: &Gradients) {
        let gradient = leaf.grad(grads).expect("every leaf has a gradient");
        self.check(&format!("grad.{name}"), gradient);
    }
}

#[test]
fn linear_is_that_of_pytorch() {
    in_every_form("linear", |run| {
        let (x, weight, bias) = (
            run.leaf::<3>("x"),
            run.leaf::<2>("weight"),
            run.leaf::<1>("bias"),
        );
        let out = linear(x.clone(), weight.clone(), Some(bias.clone()), run.precision);
        let grads = run.backward(out);
        run.check_gradient("x", &x, &grads);
        run.check_gradient("weight", &weight, &grads);
        run.check_gradient("bias", &bias, &grads);
    });
}

#[test]
fn gelu_is_that_of_pytorch() {
    for (case, kind) in [("gelu_tanh", GeluKind::Tanh), ("gelu_erf", GeluKind::Exact)] {
        in_every_form(case, |run| {
            let x = run.leaf::<2>("x");
            let grads = run.backward(gelu(x.clone(), kind));
            run.check_gradient("x", &x, &grads);
        });
    }
}

#[test]
fn layer_norm_is_that_of_pytorch() {
    in_every_form("layer_norm", |run| {
        let (x, weight, bias) = (
            run.leaf::<3>("x"),
            run.leaf::<1>("weight"),
            run.leaf::<1>("bias"),
        );
        let out = layer_norm(x.clone(), weight.clone(), Some(bias.clone()), 1e-5);
        let grads = run.backward(out);
        run.check_gradient("x", &x, &grads);
        run.check_gradient("weight", &weight, &grads);
        run.check_gradient("bias", &bias, &grads);
    });
}

#[test]
fn rms_norm_is_that_of_pytorch() {
    in_every_form("rms_norm", |run| {
        let (x, weight) = (run.leaf::<3>("x"), run.leaf::<1>("weight"));
        let grads = run.backward(rms_norm(x.clone(), weight.clone(), 1e-5));
        run.check_gradient("x", &x, &grads);
        run.check_gradient("weight", &weight, &grads);
    });
}

#[test]
fn swiglu_is_that_of_pytorch() {
    in_every_form("swiglu", |run| {
        let (gate, up) = (run.leaf::<2>("gate"), run.leaf::<2>("up"));
        let grads = run.backward(swiglu(gate.clone(), up.clone()));
        run.check_gradient("gate", &gate, &grads);
        run.check_gradient("up", &up, &grads);
    });
}

#[test]
fn rope_rotates_halves_as_llama_does() {
    in_every_form("rope", |run| {
        let x = run.leaf::<4>("x");
        let out = rope(x.clone(), run.constant("cos"), run.constant("sin"));
        let grads = run.backward(out);
        run.check_gradient("x", &x, &grads);
    });
}

#[test]
fn attention_is_that_of_pytorch() {
    let plain = AttentionOptions::default();
    let scaled = AttentionOptions {
        scale: Some(0.3),
        ..plain
    };
    let capped = AttentionOptions {
        softcap: Some(2.0),
        ..plain
    };
    let unsigned = |name: &str| {
        let values = GOLDEN.i64(name);
        values.iter().map(|&v| v as u32).collect::<Vec<_>>()
    };
    let packed = RowLayout::from_segments(
        2,
        13,
        &unsigned("attention_packed.segments"),
        &unsigned("attention_packed.lengths"),
    );
    for (case, layout, options) in [
        ("attention_grouped", RowLayout::dense(2, 11), plain),
        ("attention_packed", packed, scaled),
        ("attention_capped", RowLayout::dense(1, 9), capped),
    ] {
        in_every_form(case, |run| {
            let [q, k, v] = ["q", "k", "v"].map(|name| run.leaf::<4>(name));
            let precision = run.precision;
            let options = AttentionOptions {
                precision,
                ..options
            };
            let out = causal_attention(q.clone(), k.clone(), v.clone(), &layout, &options);
            let grads = run.backward(out);
            run.check_gradient("q", &q, &grads);
            run.check_gradient("k", &k, &grads);
            run.check_gradient("v", &v, &grads);
        });
    }
}

#[test]
fn linear_cross_entropy_is_that_of_pytorch() {
    let plain = CrossEntropyOptions {
        chunk_rows: Some(4),
        ..Default::default()
    };
    let smoothed = CrossEntropyOptions {
        label_smoothing: 0.1,
        ..plain
    };
    let z_loss = CrossEntropyOptions {
        z_loss: 0.01,
        ..plain
    };
    let padded = CrossEntropyOptions {
        z_loss: 0.01,
        valid_vocab: Some(32),
        ..smoothed
    };
    for (case, options) in [
        ("cross_entropy_plain", plain),
        ("cross_entropy_smoothed", smoothed),
        ("cross_entropy_z_loss", z_loss),
        ("cross_entropy_padded", padded),
    ] {
        in_every_form(case, |run| {
            let (hidden, weight) = (run.leaf::<2>("hidden"), run.leaf::<2>("weight"));
            let precision = run.precision;
            let options = CrossEntropyOptions {
                precision,
                ..options
            };
            let loss = linear_cross_entropy(
                hidden.clone(),
                weight.clone(),
                run.ids("targets"),
                run.constant("token_weights"),
                &options,
            );
            let grads = run.backward(loss);
            run.check_gradient("hidden", &hidden, &grads);
            run.check_gradient("weight", &weight, &grads);
        });
    }
}

#[test]
fn linear_logprobs_are_those_of_pytorch() {
    in_every_form("logprobs", |run| {
        let options = CrossEntropyOptions {
            chunk_rows: Some(4),
            precision: run.precision,
            ..Default::default()
        };
        let (hidden, weight) = (run.leaf::<2>("hidden"), run.leaf::<2>("weight"));
        let out = linear_logprobs(hidden.clone(), weight.clone(), run.ids("targets"), &options);
        let grads = run.backward(out);
        run.check_gradient("hidden", &hidden, &grads);
        run.check_gradient("weight", &weight, &grads);
    });
}

#[test]
fn embedding_is_that_of_pytorch() {
    in_every_form("embedding", |run| {
        let weight = run.leaf::<2>("weight");
        let grads = run.backward(embedding(weight.clone(), run.ids("ids")));
        run.check_gradient("weight", &weight, &grads);
    });
}

/// Not in bf16: a weight of eight bits loses most of an update, which is no fault of the formula.
#[test]
fn ten_adamw_steps_are_those_of_pytorch() {
    in_f32("adamw", SINGLE_OP_F32, |run| {
        let weight = run.constant::<1>("weight").without_autodiff();
        let grads = run.constant::<2>("grads").without_autodiff();
        let zeros =
            |kind| Moment::zeros(weight.dims()[0], kind, MomentFormat::F32, &weight.device());
        let (m, v) = (zeros(MomentKind::First), zeros(MomentKind::Second));
        let mut state = (weight, m, v);
        for (at, &lr) in GOLDEN.f64("adamw.lr").iter().enumerate() {
            let step = AdamWStep {
                lr,
                beta1: 0.9,
                beta2: 0.95,
                eps: 1e-8,
                weight_decay: 0.1,
                step: at as u64 + 1,
                grad_scale: 0.5,
            };
            let grad = grads.clone().narrow(0, at, 1).squeeze_dim(0);
            state = adamw(state.0, grad, state.1, state.2, &step);
        }
        run.check("out.weight", state.0);
        run.check("out.m", state.1.into_values());
        run.check("out.v", state.2.into_values());
    });
}

/// A chain of 15 products that raises small singular values by up to 3.4445⁵, about 500, and their
/// rounding with them; hence the tolerance of a model. Nor in bf16, for the same reason.
#[test]
fn orthogonalized_matrices_follow_the_iteration() {
    for case in ["orthogonalize_wide", "orthogonalize_tall"] {
        in_f32(case, WHOLE_MODEL_F32, |run| {
            let g = run.constant::<2>("g").without_autodiff();
            run.check("out", orthogonalize(g, 5, MatmulPrecision::F32));
        });
    }
}
