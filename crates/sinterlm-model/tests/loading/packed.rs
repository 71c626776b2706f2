//! Weights that stay as the file stores them: the same decoder as with their numbers in f32.

use std::ops::ControlFlow;
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Int, Tensor};
use sinterlm_config::Seed;
use sinterlm_formats::{BlockType, Dtype, GgufMetadata, TensorType};
use sinterlm_kernels::{CrossEntropyOptions, linear_logprobs};
use sinterlm_model::{
    CausalLm, ForwardCtx, Gpt, GptConfig, LoadOptions, LoadReport, Request, SampleConfig,
    TokenBatch, Weight, WeightsAs, generate, is_trainable, load_model, load_model_with,
    named_values, save_gguf, save_model,
};
use sinterlm_testkit::{SINGLE_OP_F32, assert_close};

use super::{changed, llama};

const TYPES: [TensorType; 5] = [
    TensorType::Plain(Dtype::F16),
    TensorType::Plain(Dtype::BF16),
    TensorType::Blocks(BlockType::Q8_0),
    TensorType::Blocks(BlockType::Q4_0),
    TensorType::Blocks(BlockType::Q4_1),
];

fn stored(path: &Path) -> (Gpt, LoadReport) {
    let options = LoadOptions {
        weights: WeightsAs::Stored,
        ..LoadOptions::default()
    };
    load_model_with(path, &Device::flex(), &options).unwrap()
}

/// A decoder of each way in which a tensor lies in a file: as it is, rows of q and k with neighbours
/// paired, thirds; with a tied head and one of its own.
fn configs() -> Vec<GptConfig> {
    let wide = GptConfig {
        d_model: 64,
        head_dim: 16,
        d_ff: 96,
        ..llama()
    };
    let tied = GptConfig {
        tied_head: true,
        ..wide.clone()
    };
    let plain = GptConfig {
        qk_norm: true,
        ..wide.clone()
    };
    let thirds = GptConfig {
        vocab_size: 50,
        max_seq_len: 32,
        d_model: 64,
        n_layers: 2,
        n_heads: 4,
        ..GptConfig::default()
    };
    vec![wide, tied, plain, thirds]
}

fn all_logits(model: &Gpt, batches: usize) -> Vec<f32> {
    let device = Device::flex();
    let ids: Vec<u32> = (0..20 * batches as u32).map(|i| i * 7 % 50).collect();
    let tokens = TokenBatch::dense(&ids, batches, &device);
    let hidden: Tensor<3> = model.hidden(&tokens, &ForwardCtx::default(), None);
    let [batch, seq, width] = hidden.dims();
    let logits = model.logits(hidden.reshape([batch * seq, width]), &ForwardCtx::default());
    logits.into_data().try_into_vec().unwrap()
}

/// As losses compute them: of the head, with no logits.
fn logprobs(model: &Gpt) -> Vec<f32> {
    let device = Device::flex();
    let ids: Vec<u32> = (0..20).map(|i| i * 7 % 50).collect();
    let tokens = TokenBatch::dense(&ids, 1, &device);
    let hidden: Tensor<3> = model.hidden(&tokens, &ForwardCtx::default(), None);
    let targets = Tensor::<1, Int>::arange(0..20, &device);
    let (weight, options) = (
        model.head().linear.weight.val(),
        CrossEntropyOptions::default(),
    );
    let found = linear_logprobs(hidden.squeeze_dim(0), weight, targets, &options);
    found.into_data().try_into_vec().unwrap()
}

fn greedy(model: &Gpt, prompt: &[u32], tokens: usize) -> Vec<u32> {
    let request = Request {
        prompt: prompt.to_vec(),
        ..Request::default()
    };
    let config = SampleConfig {
        temperature: 0.0,
        ..SampleConfig::plain(tokens)
    };
    let go_on = |_, _| ControlFlow::Continue(());
    let done = generate(model, &[request], &config, Seed(0), go_on).unwrap();
    done[0].tokens.iter().map(|token| token.id).collect()
}

#[test]
fn a_packed_decoder_computes_what_its_numbers_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    for config in configs() {
        let model = config.init(Seed(3), &Device::flex());
        for dtype in TYPES {
            let name = format!("{dtype}, {config:?}");
            let size = save_gguf(&path, &model, dtype, GgufMetadata::new()).unwrap();
            let dense = load_model(&path, &Device::flex()).unwrap();
            let (packed, report) = stored(&path);
            let of_matrices = dtype.size_bytes(&[1, 96]).unwrap() as f64 / 96.0;
            let matrices = config.parameters().total as f64 * of_matrices;
            assert!(report.packed_bytes as f64 > 0.9 * matrices, "{name}");
            assert!(report.mapped_bytes > report.copied_bytes, "{name}");
            assert!(report.mapped_bytes + report.copied_bytes < size as usize);
            // Few rows read the blocks, many unpack them in parts; the order of sums differs.
            for batches in [1, 4] {
                let [found, exact] = [&packed, &dense].map(|model| all_logits(model, batches));
                assert_close(&found, &exact, SINGLE_OP_F32, &name);
            }
            let [found, exact] = [&packed, &dense].map(logprobs);
            assert_close(&found, &exact, SINGLE_OP_F32, &name);
            let texts = [&dense, &packed].map(|model| greedy(model, &[5, 3], 20));
            assert_eq!(texts[0], texts[1], "{name}");
            assert_eq!(named_values(&packed), named_values(&dense), "{name}");
        }
    }
}

#[test]
fn half_floats_of_a_folder_stay_in_its_map() {
    let config = &configs()[0];
    let folder = changed(config, |tensors| {
        for (_, dtype, _, bytes) in tensors {
            let halves = bytes
                .chunks_exact(4)
                .flat_map(|number| [number[2], number[3]]);
            (*dtype, *bytes) = (Dtype::BF16, halves.collect());
        }
    });
    let (packed, report) = stored(folder.path());
    // Norms become f32.
    assert_eq!(report.copied_bytes, 4 * 5 * 64);
    assert_eq!(report.mapped_bytes, report.packed_bytes);
    let dense = load_model(folder.path(), &Device::flex()).unwrap();
    assert_eq!(named_values(&packed), named_values(&dense));
    assert_eq!(greedy(&packed, &[1], 10), greedy(&dense, &[1], 10));

    // Saved, it is a model like others.
    let saved = tempfile::tempdir().unwrap();
    save_model(saved.path(), &packed, 0).unwrap();
    let read = load_model(saved.path(), &Device::flex()).unwrap();
    assert_eq!(named_values(&read), named_values(&dense));
}

#[test]
fn a_visitor_that_reads_shapes_alone_unpacks_nothing() {
    #[derive(Default)]
    struct Shapes(Vec<Vec<usize>>, usize);

    impl ModuleVisitor for Shapes {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.lazy_shape().dims::<D>().to_vec());
            self.1 += usize::from(!param.is_initialized());
        }
    }

    let folder = changed(&configs()[0], |_| {});
    let path = folder.path().join("model.gguf");
    let dense = load_model(folder.path(), &Device::flex()).unwrap();
    save_gguf(&path, &dense, BlockType::Q8_0.into(), GgufMetadata::new()).unwrap();
    let mut shapes = Shapes::default();
    stored(&path).0.visit(&mut shapes);
    let expected: Vec<_> = named_values(&dense).into_iter().map(|p| p.shape).collect();
    assert_eq!(shapes.0, expected);
    let matrices = expected.iter().filter(|shape| shape.len() == 2);
    assert_eq!(shapes.1, matrices.count());
}

/// Maps and trains what a model has of dense parameters, and counts those that it is shown.
struct Touch(usize);

impl ModuleMapper for Touch {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.0 += 1;
        param.map(|tensor| tensor)
    }
}

#[test]
fn packed_weights_stay_packed_when_a_model_is_mapped_or_trained() {
    let folder = changed(&configs()[0], |_| {});
    let path = folder.path().join("model.gguf");
    let dense = load_model(folder.path(), &Device::flex()).unwrap();
    save_gguf(&path, &dense, BlockType::Q8_0.into(), GgufMetadata::new()).unwrap();
    let options = LoadOptions {
        weights: WeightsAs::Stored,
        ..LoadOptions::default()
    };
    let (model, report) = load_model_with(&path, &Device::flex().autodiff(), &options).unwrap();
    assert!(report.packed_bytes > 0);
    let before = named_values(&model);
    let matrices = before
        .iter()
        .filter(|values| values.shape.len() == 2)
        .count();

    let mut touch = Touch(0);
    let model = model.map(&mut touch).train();
    assert_eq!(
        touch.0,
        before.len() - matrices,
        "mappers see dense parameters alone"
    );
    let mut trained = Trained::default();
    model.visit(&mut trained);
    assert_eq!(
        (trained.yes, trained.no),
        (before.len() - matrices, matrices)
    );
    assert!(matches!(model.head().linear.weight, Weight::Packed(_)));
    assert_eq!(named_values(&model), before);
}

/// Counts trained parameters and frozen ones, of which none is unpacked.
#[derive(Default)]
struct Trained {
    yes: usize,
    no: usize,
}

impl ModuleVisitor for Trained {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let trained = is_trainable(param);
        self.yes += usize::from(trained);
        self.no += usize::from(!trained);
        assert!(
            trained || !param.is_initialized(),
            "unpacked by the question"
        );
    }
}

#[test]
fn the_published_smollm2_generates_from_its_blocks() {
    let Some(path) = std::env::var_os("SINTERLM_SMOLLM2") else {
        eprintln!("skipped: set SINTERLM_SMOLLM2 to the GGUF of SmolLM2-135M-Instruct in Q4_1");
        return;
    };
    let path = Path::new(&path);
    let (packed, report) = stored(path);
    let size = std::fs::metadata(path).unwrap().len() as usize;
    assert!(
        report.mapped_bytes + report.copied_bytes < size,
        "{report:?}"
    );
    assert!(report.copied_bytes < size / 5, "{report:?}");
    let dense = load_model(path, &Device::flex()).unwrap();
    let prompt = [6403, 3256, 253, 655, 28, 665, 436];
    assert_eq!(greedy(&packed, &prompt, 20), greedy(&dense, &prompt, 20));
}
