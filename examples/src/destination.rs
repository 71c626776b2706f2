//! The command line of an export.

use std::path::PathBuf;

use clap::ValueEnum;
use sinterlm::formats::{BlockType, Dtype, TensorType};
use sinterlm::pipeline::{Destination, ExportFormat};

/// `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatChoice {
    /// A folder for `transformers` and what reads its layout.
    Hf,
    /// A file for llama.cpp.
    Gguf,
}

/// Where a model goes, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct DestinationOptions {
    /// Folder or file to write.
    #[arg(long, value_name = "PATH")]
    to: PathBuf,
    /// hf: a model folder; gguf: a file for llama.cpp [default: by the name's ending]
    #[arg(long, value_name = "F")]
    format: Option<FormatChoice>,
    /// f32, f16, bf16; in a GGUF also q8_0, q5_1, q5_0, q4_1, q4_0
    #[arg(long, value_name = "T", default_value = "f32", value_parser = tensor_type)]
    dtype: TensorType,
    /// Replace an earlier export.
    #[arg(long)]
    force: bool,
}

impl DestinationOptions {
    /// As the library takes it.
    pub fn destination(&self) -> Destination {
        let format = self.format.map(|format| match format {
            FormatChoice::Hf => ExportFormat::Hf,
            FormatChoice::Gguf => ExportFormat::Gguf,
        });
        Destination {
            format,
            dtype: self.dtype,
            force: self.force,
            ..Destination::new(&self.to)
        }
    }
}

fn tensor_type(name: &str) -> Result<TensorType, String> {
    let plain = [Dtype::F32, Dtype::F16, Dtype::BF16].map(TensorType::from);
    let blocks = [
        BlockType::Q8_0,
        BlockType::Q5_1,
        BlockType::Q5_0,
        BlockType::Q4_1,
        BlockType::Q4_0,
    ];
    let mut known = plain.into_iter().chain(blocks.map(TensorType::from));
    let found = known.find(|dtype| dtype.to_string().eq_ignore_ascii_case(name));
    found.ok_or_else(|| "use f32, f16, bf16, q8_0, q5_1, q5_0, q4_1 or q4_0".to_owned())
}
