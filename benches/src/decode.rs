//! Generation: which cases are measured, what they are called, and how one is run.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};
use sinterlm::burn::tensor::Device;
use sinterlm::config::Seed;
use sinterlm::formats::{BlockType, GgufMetadata, TensorType};
use sinterlm::model::{
    Gpt, GptConfig, LoadOptions, Preset, Request, SampleConfig, WeightsAs, generate,
    load_model_with, read_config, save_gguf,
};
use sinterlm::run::peak_memory_bytes;

use crate::{Case, median, reference_model, timings};

/// Paths of model files or folders to measure too, separated as in `PATH`.
const MODELS: &str = "SINTERLM_BENCH_MODELS";

/// Texts continued side by side, from prompts of random tokens.
#[derive(Clone, Debug)]
pub struct DecodeCase {
    /// Texts.
    pub rows: usize,
    /// Tokens of a prompt.
    pub prompt: usize,
    /// Tokens added to each.
    pub new: usize,
    /// The model.
    pub model: GptConfig,
    /// Its weights.
    pub weights: CaseWeights,
}

/// Where the weights of a case come from.
#[derive(Clone, Debug)]
pub enum CaseWeights {
    /// Drawn, in f32.
    Fresh,
    /// Drawn, and read in place from a file of blocks.
    Blocks(BlockType),
    /// A file or folder, as it stores them.
    Stored(PathBuf),
}

/// The cases of `cargo bench`: decoding one text, rollouts of sixteen, and reading a long prompt; one
/// text from weights in blocks, too. With `SINTERLM_BENCH_MODELS` also one text and a long prompt of
/// each model named.
///
/// # Errors
/// Where such a model cannot be read.
pub fn decode_cases() -> Result<Vec<DecodeCase>> {
    let case = |rows, prompt, new, model: &GptConfig| DecodeCase {
        rows,
        prompt,
        new,
        model: model.clone(),
        weights: CaseWeights::Fresh,
    };
    let mut cases = Vec::new();
    for model in [Preset::Small.config(), reference_model()] {
        cases.push(case(1, 16, 64, &model));
        cases.push(case(16, 16, 64, &model));
        cases.push(case(1, 512, 1, &model));
    }
    for blocks in [BlockType::Q4_1, BlockType::Q8_0] {
        cases.push(DecodeCase {
            weights: CaseWeights::Blocks(blocks),
            ..case(1, 16, 64, &reference_model())
        });
    }
    let models = std::env::var_os(MODELS).unwrap_or_default();
    for path in std::env::split_paths(&models).filter(|path| *path != PathBuf::new()) {
        let model = read_config(&path)?;
        for (prompt, new) in [(16, 64), (512, 1)] {
            cases.push(DecodeCase {
                weights: CaseWeights::Stored(path.clone()),
                ..case(1, prompt, new, &model)
            });
        }
    }
    Ok(cases)
}

impl DecodeCase {
    /// Tokens that the figure is about: those read where hardly any is written, else those written.
    pub fn tokens(&self) -> usize {
        self.rows * if self.new == 1 { self.prompt } else { self.new }
    }

    /// Bytes of weights that one step reads: all but the tables that a token takes single rows of.
    pub fn weight_bytes(&self) -> f64 {
        let model = &self.model;
        let head = model.vocab_size * model.d_model;
        let specs = model.param_specs(&Device::flex());
        let blocks = specs.iter().filter(|spec| spec.path.starts_with("blocks."));
        let matrices = blocks.filter(|spec| spec.shape.len() == 2);
        let numbers = head
            + matrices
                .map(|spec| spec.shape.iter().product::<usize>())
                .sum::<usize>();
        let bytes_each = match &self.weights {
            CaseWeights::Fresh => 4.0,
            CaseWeights::Blocks(blocks) => blocks.size_bytes() as f64 / blocks.len() as f64,
            CaseWeights::Stored(path) => {
                // Nearly all of the file are matrices of one type.
                let all = specs
                    .iter()
                    .map(|spec| spec.shape.iter().product::<usize>());
                size_of_weights(path) as f64 / all.sum::<usize>() as f64
            }
        };
        bytes_each * numbers as f64
    }

    /// The file of weights in blocks.
    fn blocks_file(&self) -> PathBuf {
        let name = format!("sinterlm-{}.gguf", self.id().replace('/', "-"));
        std::env::temp_dir().join(name)
    }

    fn config(&self) -> GptConfig {
        GptConfig {
            max_seq_len: self.model.max_seq_len.max(self.prompt + self.new),
            ..self.model.clone()
        }
    }

    fn load(&self, device: &Device) -> Result<Gpt> {
        let path = match &self.weights {
            CaseWeights::Fresh => return Ok(self.config().init(Seed(0), device)),
            CaseWeights::Blocks(_) => &self.blocks_file(),
            CaseWeights::Stored(path) => path,
        };
        let options = LoadOptions {
            weights: WeightsAs::Stored,
            ..LoadOptions::default()
        };
        Ok(load_model_with(path, device, &options)?.0)
    }

    /// The model and a function that generates with it.
    fn start(&self) -> Result<impl FnMut() + use<>> {
        let device = Device::flex();
        let model = self.load(&device)?;
        let vocab_size = model.config().vocab_size;
        let id = move |row: usize, at: usize| ((row * 7919 + at * 104_729) % vocab_size) as u32;
        let requests: Vec<Request> = (0..self.rows)
            .map(|row| Request {
                prompt: (0..self.prompt).map(|at| id(row, at)).collect(),
                number: row as u64,
                ..Request::default()
            })
            .collect();
        let mut sampling = SampleConfig::plain(self.new);
        if let CaseWeights::Stored(_) = self.weights {
            sampling.temperature = 0.0; // as the programs do that it is held against
        }
        let new = self.new;
        Ok(move || {
            let go_on = |_, _| ControlFlow::Continue(());
            let done = generate(&model, &requests, &sampling, Seed(0), go_on);
            let done = done.expect("these weights give finite logits");
            assert!(done.iter().all(|generated| generated.tokens.len() == new));
        })
    }
}

/// Bytes of the weights in a model file or folder.
fn size_of_weights(path: &Path) -> u64 {
    let is_weights = |path: &PathBuf| {
        let extension = path.extension().unwrap_or_default();
        ["safetensors", "gguf", "bin"]
            .iter()
            .any(|known| extension == *known)
    };
    let listing = std::fs::read_dir(path).into_iter().flatten().flatten();
    let files = listing.map(|entry| entry.path()).filter(is_weights);
    let files = files.chain([path.to_owned()].into_iter().filter(|path| path.is_file()));
    files
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum()
}

impl Case for DecodeCase {
    fn id(&self) -> String {
        let Self {
            rows, prompt, new, ..
        } = self;
        let GptConfig {
            d_model,
            n_layers,
            vocab_size,
            ..
        } = self.model;
        let weights = match &self.weights {
            CaseWeights::Fresh => "f32".to_owned(),
            CaseWeights::Blocks(blocks) => blocks.name().to_lowercase(),
            CaseWeights::Stored(path) => {
                let name = path.file_name().unwrap_or_default();
                return format!("decode/b{rows}_p{prompt}_n{new}/{}/flex", name.display());
            }
        };
        format!(
            "decode/b{rows}_p{prompt}_n{new}_d{d_model}_l{n_layers}_v{vocab_size}/{weights}/flex"
        )
    }

    fn shape(&self) -> Value {
        let file = match &self.weights {
            CaseWeights::Stored(path) => Some(path),
            _ => None,
        };
        json!({
            "bench": self.id(),
            "rows": self.rows,
            "prompt": self.prompt,
            "new": self.new,
            "tokens": self.tokens(),
            "d_model": self.model.d_model,
            "d_ff": self.model.d_ff(),
            "n_layers": self.model.n_layers,
            "n_heads": self.model.n_heads,
            "vocab_size": self.model.vocab_size,
            "max_seq_len": self.model.max_seq_len.max(self.prompt + self.new),
            "tied_head": self.model.tied_head,
            "file": file,
        })
    }

    fn prepare(&self) -> Result<Option<PathBuf>> {
        let CaseWeights::Blocks(blocks) = self.weights else {
            return Ok(None);
        };
        let path = self.blocks_file();
        if path.exists() {
            return Ok(None);
        }
        let model = self.config().init(Seed(0), &Device::flex());
        save_gguf(&path, &model, TensorType::from(blocks), GgufMetadata::new())?;
        Ok(Some(path))
    }

    fn measure(&self, runs: Option<usize>) -> Result<Value> {
        let mut run = self.start()?;
        let seconds = timings(runs, &mut run);
        drop(run);
        let peak_memory = peak_memory_bytes(); // before the yardstick, which needs some too
        let bandwidth = stream_bandwidth();
        let middle = median(&seconds);
        let steps_per_second = self.new as f64 / middle;
        Ok(json!({
            "bench": self.id(),
            "median_seconds": middle,
            "step_seconds": seconds,
            "tokens": self.tokens(),
            "tokens_per_second": (self.tokens() as f64 / middle).round(),
            "weight_bytes": self.weight_bytes(),
            "stream_bytes_per_second": bandwidth.round(),
            "share_of_stream": self.weight_bytes() * steps_per_second / bandwidth,
            "peak_memory_bytes": peak_memory,
        }))
    }
}

/// Bytes a second that all threads together read from memory, the best of several passes.
///
/// The yardstick of decoding, which reads every weight for every step.
pub fn stream_bandwidth() -> f64 {
    const NUMBERS: usize = 1 << 26; // 512 MiB, far beyond caches
    let numbers = vec![1_u64; NUMBERS];
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let pass = || {
        let started = Instant::now();
        let total: u64 = std::thread::scope(|scope| {
            let parts = numbers.chunks(NUMBERS.div_ceil(threads));
            let sums = parts.map(|part| scope.spawn(move || part.iter().sum::<u64>()));
            let sums: Vec<_> = sums.collect();
            let joined = sums
                .into_iter()
                .map(|sum| sum.join().expect("a sum cannot fail"));
            joined.sum()
        });
        assert_eq!(total, NUMBERS as u64);
        (NUMBERS * 8) as f64 / started.elapsed().as_secs_f64()
    };
    (0..6).map(|_| pass()).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_an_id_of_its_own_and_runs() {
        let cases = decode_cases().expect("no model is named");
        let mut ids: Vec<String> = cases.iter().map(Case::id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), cases.len());
        let tiny = DecodeCase {
            rows: 2,
            prompt: 3,
            new: 4,
            model: Preset::Tiny.config(),
            weights: CaseWeights::Fresh,
        };
        tiny.start().expect("nothing is read")();
    }

    #[test]
    fn a_step_reads_the_blocks_and_the_head() {
        let case = DecodeCase {
            rows: 1,
            prompt: 1,
            new: 1,
            model: Preset::Tiny.config(),
            weights: CaseWeights::Fresh,
        };
        let expected = 4.0 * (512.0 * 64.0 + 2.0 * 12.0 * 64.0 * 64.0);
        assert_eq!(case.weight_bytes().to_bits(), f64::to_bits(expected));
        let packed = DecodeCase {
            weights: CaseWeights::Blocks(BlockType::Q4_1),
            ..case
        };
        let expected = expected * 20.0 / 128.0;
        assert_eq!(packed.weight_bytes().to_bits(), f64::to_bits(expected));
    }
}
