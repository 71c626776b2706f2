//! What must hold for the decoder whatever its options: causality, caching, packing, counts,
//! folders, gradients of every parameter.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor};
use sinterlm_config::{Check, Seed};
use sinterlm_kernels::{Route, RowLayout, with_route};
use sinterlm_model::{
    Activation, CausalLm, Checkpointing, ForwardCtx, Gpt, GptConfig, NormKind, PathStack,
    Positions, Preset, RopeScaling, TokenBatch, load_model, named_values, save_model,
};
use sinterlm_testkit::{SINGLE_OP_F32, WHOLE_MODEL_F32, assert_close};

fn base() -> GptConfig {
    GptConfig {
        vocab_size: 97,
        max_seq_len: 24,
        d_model: 48,
        n_heads: 4,
        ..Preset::Tiny.config()
    }
}

fn llama() -> GptConfig {
    GptConfig {
        positions: Positions::Rope,
        norm: NormKind::RmsNorm,
        activation: Activation::Swiglu,
        n_kv_heads: 2,
        qkv_bias: false,
        attn_out_bias: false,
        mlp_bias: false,
        ..base()
    }
}

/// Decoders that between them use every option.
fn variants() -> Vec<(&'static str, GptConfig)> {
    vec![
        ("gpt2", base()),
        ("llama", llama()),
        (
            "grouped and squared",
            GptConfig {
                n_kv_heads: 1,
                activation: Activation::ReluSquared,
                tied_head: false,
                ..base()
            },
        ),
        (
            "rotated gpt2 with wide heads and caps",
            GptConfig {
                positions: Positions::Rope,
                rope_scaling: RopeScaling::Linear { factor: 2.0 },
                head_dim: 20,
                attn_softcap: 5.0,
                logits_softcap: 3.0,
                attn_out_bias: false,
                ..base()
            },
        ),
        (
            "normalised keys, window and gate with bias",
            GptConfig {
                qk_norm: true,
                window: 5,
                global_layers: vec![1],
                mlp_bias: true,
                tied_head: false,
                ..llama()
            },
        ),
    ]
}

fn ids(count: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * i + 3 * i) % 97) as u32).collect()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32")
}

fn hidden(model: &Gpt, tokens: &TokenBatch) -> Vec<f32> {
    values(model.hidden(tokens, &ForwardCtx::default(), None))
}

#[test]
fn a_later_token_never_moves_earlier_activations() {
    let device = Device::flex();
    for (name, config) in variants() {
        let model = config.init(Seed(3), &device);
        let (mut changed, original) = (ids(20), ids(20));
        changed[12] = 60;
        let [a, b] = [original, changed].map(|ids| {
            let tokens = TokenBatch::dense(&ids, 1, &device);
            hidden(&model, &tokens)
        });
        let split = 12 * config.d_model;
        assert_close(&a[..split], &b[..split], SINGLE_OP_F32, name);
        assert!(a[split..] != b[split..], "{name}: from the change on");
    }
}

#[test]
fn cached_steps_equal_the_full_pass() {
    let device = Device::flex();
    for (name, config) in variants() {
        let model = config.init(Seed(3), &device);
        let text = ids(20);
        let full = hidden(&model, &TokenBatch::dense(&text, 1, &device));
        let mut cache = model.new_cache(1, 24);
        let mut stepped = Vec::new();
        for piece in [0..7, 7..8, 8..9, 9..20] {
            let tokens = TokenBatch::ragged(&[(piece.start, &text[piece.clone()])], &device);
            let ctx = ForwardCtx::default();
            stepped.extend(values(model.hidden(&tokens, &ctx, Some(&mut cache))));
        }
        assert_close(&stepped, &full, WHOLE_MODEL_F32, name);
    }
}

#[test]
fn packed_documents_equal_rows_of_their_own() {
    let device = Device::flex();
    for (name, config) in variants() {
        let model = config.init(Seed(3), &device);
        let text = ids(20);
        let segments: Vec<u32> = (0..20).map(|at| u32::from(at >= 8)).collect();
        let positions: Vec<u32> = (0..8).chain(0..12).collect();
        let layout = RowLayout::from_segments(1, 20, &segments, &[20]);
        let packed = hidden(&model, &TokenBatch::new(&text, &positions, layout, &device));
        let alone: Vec<f32> = [&text[..8], &text[8..]]
            .into_iter()
            .flat_map(|text| hidden(&model, &TokenBatch::dense(text, 1, &device)))
            .collect();
        assert_close(&packed, &alone, WHOLE_MODEL_F32, name);
    }
}

#[test]
fn both_forms_of_the_kernels_give_the_same_model() {
    let device = Device::flex();
    for (name, config) in variants() {
        let model = config.init(Seed(3), &device);
        let tokens = TokenBatch::dense(&ids(40), 2, &device);
        let [native, composed] = [Route::Native, Route::Composed]
            .map(|route| with_route(route, || hidden(&model, &tokens)));
        assert_close(&native, &composed, WHOLE_MODEL_F32, name);
    }
}

#[test]
fn counted_parameters_are_the_ones_made() {
    for (name, config) in variants() {
        let made = named_values(&config.init(Seed(0), &Device::flex()));
        let made: usize = made.iter().map(|param| param.values.len()).sum();
        assert_eq!(config.parameters().total, made as u64, "{name}");
        assert!(Check::of(&config).is_empty(), "{name}");
    }
}

#[test]
fn a_folder_gives_the_model_back() {
    let device = Device::flex();
    for (name, config) in variants() {
        let model = config.init(Seed(7), &device);
        let folder = tempfile::tempdir().unwrap();
        save_model(folder.path(), &model, 0).unwrap();
        let loaded = load_model(folder.path(), &device).unwrap();
        assert_eq!(named_values(&loaded), named_values(&model), "{name}");
        let tokens = TokenBatch::dense(&ids(20), 1, &device);
        assert_eq!(hidden(&loaded, &tokens), hidden(&model, &tokens), "{name}");
        let cap = |model: &Gpt| model.head().softcap;
        assert_eq!(cap(&loaded), cap(&model), "{name}");
    }
}

/// Takes the gradient of every parameter off a tape.
struct Gather<'a>(&'a mut Gradients, PathStack, Vec<(String, Vec<f32>)>);

impl ModuleVisitor for Gather<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = param.val().grad_remove(self.0) {
            self.2.push((self.1.path(), values(grad)));
        }
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.1.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.1.exit();
    }
}

/// Gradients of every parameter, in the order of their paths.
fn gradients(model: &Gpt, checkpointing: Option<Checkpointing>) -> Vec<(String, Vec<f32>)> {
    let device = Device::flex().autodiff();
    let tokens = TokenBatch::dense(&ids(24), 2, &device);
    let ctx = ForwardCtx {
        checkpointing: checkpointing.clone(),
        ..ForwardCtx::default()
    };
    let out = model.hidden(&tokens, &ctx, None);
    let weights: Vec<f32> = (0..24 * 48).map(|i| (i as f32 * 0.37).sin()).collect();
    let weights = Tensor::<1>::from_data(&weights[..], &device).reshape([2, 12, 48]);
    let mut tape = (out * weights).sum().backward();
    let mut found = Vec::new();
    let mut take = |tape: &mut Gradients| {
        let mut gather = Gather(tape, PathStack::default(), Vec::new());
        model.visit(&mut gather);
        found.append(&mut gather.2);
    };
    match checkpointing {
        Some(checkpointing) => checkpointing.backward(&mut tape, take),
        None => take(&mut tape),
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

#[test]
fn every_parameter_learns_and_checkpointing_leaves_its_gradient() {
    let device = Device::flex().autodiff();
    for (name, config) in variants() {
        let model = config.init(Seed(5), &device);
        let whole = gradients(&model, None);
        let names: Vec<&str> = whole.iter().map(|(path, _)| path.as_str()).collect();
        for param in named_values(&model) {
            let known = names.contains(&param.path.as_str());
            // The head takes no part in hidden states.
            assert!(
                known || param.path == "head.weight",
                "{name}: {}",
                param.path
            );
        }
        for (path, gradient) in &whole {
            assert!(gradient.iter().any(|x| *x != 0.0), "{name}: {path}");
        }
        let again = gradients(&model, Some(Checkpointing::default()));
        assert_eq!(again, whole, "{name}");
    }
}

#[test]
fn options_that_cannot_be_are_refused_by_name() {
    let faults = |config: GptConfig| {
        let faults = Check::of(&config);
        let faults: Vec<String> = faults
            .iter()
            .map(|fault| format!("{}: {}", fault.path, fault.message))
            .collect();
        faults.join("; ")
    };
    let of = |change: &dyn Fn(&mut GptConfig)| {
        let mut config = llama();
        change(&mut config);
        faults(config)
    };
    assert!(of(&|config| config.n_kv_heads = 3).starts_with("n_kv_heads: 3 does not divide"));
    assert!(of(&|config| config.head_dim = 7).starts_with("head_dim: 7 is odd"));
    assert!(of(&|config| config.rope_theta = 1.0).starts_with("rope_theta: 1 is not above 1"));
    assert!(of(&|config| config.global_layers = vec![0]).contains("window is 0"));
    let scaled = |config: &mut GptConfig| config.rope_scaling = RopeScaling::Linear { factor: 0.5 };
    assert!(of(&scaled).starts_with("rope_scaling.factor: 0.5 is below 1"));
    let learned = |config: &mut GptConfig| {
        scaled(config);
        config.positions = Positions::Learned;
    };
    assert!(of(&learned).starts_with("rope_scaling: there is no rotation"));
    assert_eq!(of(&|_| {}), "");
}
