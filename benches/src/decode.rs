//! Generation: which cases are measured, what they are called, and how one is run.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};
use sinterlm::burn::tensor::Device;
use sinterlm::config::Seed;
use sinterlm::formats::{BlockType, GgufMetadata, TensorType};
use sinterlm::model::{
    Gpt, GptConfig, LoadOptions, Preset, Request, SampleConfig, WeightsAs, generate,
    load_model_with, save_gguf,
};

use crate::reference_model;

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
    /// Blocks of a file that weights are read from in place; numbers in f32 where absent.
    pub blocks: Option<BlockType>,
}

/// The cases of `cargo bench`: decoding one text, rollouts of sixteen, and reading a long prompt; one
/// text from weights in blocks, too.
pub fn decode_cases() -> Vec<DecodeCase> {
    let case = |rows, prompt, new, model: &GptConfig| DecodeCase {
        rows,
        prompt,
        new,
        model: model.clone(),
        blocks: None,
    };
    let models = [Preset::Small.config(), reference_model()];
    let of = |model| {
        [
            case(1, 16, 64, model),
            case(16, 16, 64, model),
            case(1, 512, 1, model),
        ]
    };
    let packed = [BlockType::Q4_1, BlockType::Q8_0].map(|blocks| DecodeCase {
        blocks: Some(blocks),
        ..case(1, 16, 64, &models[1])
    });
    models.iter().flat_map(of).chain(packed).collect()
}

impl DecodeCase {
    /// Name in baselines and filters.
    pub fn id(&self) -> String {
        let Self {
            rows, prompt, new, ..
        } = self;
        let GptConfig {
            d_model,
            n_layers,
            vocab_size,
            ..
        } = self.model;
        let weights = self.blocks.map_or("f32", BlockType::name).to_lowercase();
        format!(
            "decode/b{rows}_p{prompt}_n{new}_d{d_model}_l{n_layers}_v{vocab_size}/{weights}/flex"
        )
    }

    /// Tokens that the figure is about: those read where hardly any is written, else those written.
    pub fn tokens(&self) -> usize {
        self.rows * if self.new == 1 { self.prompt } else { self.new }
    }

    /// Bytes of weights that one step reads: all but the tables that a token takes single rows of.
    pub fn weight_bytes(&self) -> f64 {
        let model = &self.model;
        let head = model.vocab_size * model.d_model;
        let blocks = model.n_layers * (4 * model.d_model + 2 * model.d_ff()) * model.d_model;
        let bytes = self.blocks.map_or(4.0, |blocks| {
            blocks.size_bytes() as f64 / blocks.len() as f64
        });
        bytes * (head + blocks) as f64
    }

    /// What another program needs to know to do the same.
    pub fn shape(&self) -> Value {
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
            "weights": self.blocks.map_or("F32", BlockType::name),
        })
    }

    /// The file that weights in blocks are read from.
    pub fn file(&self) -> Option<PathBuf> {
        let name = format!("sinterlm-{}.gguf", self.id().replace('/', "-"));
        self.blocks.map(|_| std::env::temp_dir().join(name))
    }

    /// Writes that file: in another process than [`start`](Self::start), whose memory is measured.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write_file(&self) -> Result<()> {
        if let (Some(blocks), Some(path)) = (self.blocks, self.file()) {
            let model = self.config().init(Seed(0), &Device::flex());
            save_gguf(&path, &model, TensorType::from(blocks), GgufMetadata::new())?;
        }
        Ok(())
    }

    fn config(&self) -> GptConfig {
        GptConfig {
            max_seq_len: self.model.max_seq_len.max(self.prompt + self.new),
            ..self.model.clone()
        }
    }

    /// A model with fresh weights, or those of the file, and a function that generates with it.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn start(&self) -> Result<impl FnMut() + use<>> {
        let device = Device::flex();
        let model: Gpt = match self.file() {
            None => self.config().init(Seed(0), &device),
            Some(path) => {
                let options = LoadOptions {
                    weights: WeightsAs::Stored,
                    ..LoadOptions::default()
                };
                load_model_with(&path, &device, &options)?.0
            }
        };
        let vocab_size = model.config().vocab_size;
        let id = move |row: usize, at: usize| ((row * 7919 + at * 104_729) % vocab_size) as u32;
        let requests: Vec<Request> = (0..self.rows)
            .map(|row| Request {
                prompt: (0..self.prompt).map(|at| id(row, at)).collect(),
                number: row as u64,
                ..Request::default()
            })
            .collect();
        let (new, sampling) = (self.new, SampleConfig::plain(self.new));
        Ok(move || {
            let go_on = |_, _| ControlFlow::Continue(());
            let done = generate(&model, &requests, &sampling, Seed(0), &device, go_on);
            let done = done.expect("fresh weights give finite logits");
            assert!(done.iter().all(|generated| generated.tokens.len() == new));
        })
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
        let mut ids: Vec<String> = decode_cases().iter().map(DecodeCase::id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), decode_cases().len());
        let tiny = DecodeCase {
            rows: 2,
            prompt: 3,
            new: 4,
            model: Preset::Tiny.config(),
            blocks: None,
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
            blocks: None,
        };
        let expected = 4.0 * (512.0 * 64.0 + 2.0 * 12.0 * 64.0 * 64.0);
        assert_eq!(case.weight_bytes().to_bits(), f64::to_bits(expected));
        let packed = DecodeCase {
            blocks: Some(BlockType::Q4_1),
            ..case
        };
        let expected = expected * 20.0 / 128.0;
        assert_eq!(packed.weight_bytes().to_bits(), f64::to_bits(expected));
    }
}
