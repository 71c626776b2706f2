//! The command line of `export`, and what it prints.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::ValueEnum;
use sinterlm::eval::Receipt;
use sinterlm::formats::{BlockType, Dtype, TensorType};
use sinterlm::pipeline::{Destination, ExportFormat, Host};
use sinterlm::run::{Gate, Summary};
use sinterlm::text::TextModel;

use crate::exit::{Failure, say};
use crate::model_options::ModelOptions;
use crate::summaries::{check_out, write_summary};

/// `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatChoice {
    /// A folder for `transformers` and what reads its layout.
    Hf,
    /// A file for llama.cpp.
    Gguf,
}

/// What is exported, where it goes, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct Exporting {
    /// The model.
    #[command(flatten)]
    pub from: ModelOptions,
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
    /// Folder for summary.json; nothing is written where absent.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Only where the export lies.
    #[arg(long)]
    quiet: bool,
}

impl Exporting {
    /// Where the model goes.
    ///
    /// # Errors
    /// Where nothing can be written there.
    pub fn destination(&self) -> Result<Destination, Failure> {
        let format = self.format.map(|format| match format {
            FormatChoice::Hf => ExportFormat::Hf,
            FormatChoice::Gguf => ExportFormat::Gguf,
        });
        let destination = Destination {
            format,
            dtype: self.dtype,
            force: self.force,
            ..Destination::new(&self.to)
        };
        destination.check()?;
        check_out(self.out.as_deref())?;
        Ok(destination)
    }

    /// Says which model is exported.
    pub fn introduce(&self, host: &Host, source: &TextModel) {
        if !self.quiet {
            let path = source.path.display();
            eprintln!("device: {}, weights: {path}", host.device_name);
        }
    }

    /// Prints the receipt, and writes `summary.json` where a folder is given for it.
    ///
    /// # Errors
    /// Where the copy is another model than its source, or the summary cannot be written.
    pub fn report(&self, receipt: &Receipt, seconds: f64) -> Result<(), Failure> {
        if !self.quiet || !receipt.passed {
            say(receipt);
        }
        let mut summary = Summary::new("export");
        summary.gates = vec![Gate::at_most("faults", receipt.faults.len() as f64, 0.0)];
        write_summary(self.out.as_deref(), summary, seconds)?;
        let to = self.to.display();
        if !receipt.passed {
            return Err(anyhow!("{to}: the copy is not the same model; it was removed").into());
        }
        say(format!("exported: {to}"));
        Ok(())
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
