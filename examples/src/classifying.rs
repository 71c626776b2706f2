//! The command line of `classify`, and how its results are printed.

use std::io::BufReader;
use std::path::PathBuf;

use anyhow::Context;
use sinterlm::data::{read_texts, read_texts_from};
use sinterlm::pipeline::{ClassModel, Host, PipelineError};

use crate::exit::Failure;
use crate::model_options::ModelOptions;
use crate::printer::Printer;

/// Texts whose classes are found before the first of them are printed, so that any number of texts can
/// be waited for.
const BATCH: usize = 1024;

/// What is classified, and by which model.
#[derive(Clone, Debug, clap::Args)]
pub struct Classifying {
    /// The model, which has a class head.
    #[command(flatten)]
    pub from: ModelOptions,
    /// A text, repeatable.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    text: Vec<String>,
    /// Texts of a file: JSON with a field text, sms, message, sentence or content; CSV or TSV, with such a
    /// name in the first line or the label first; else a text a line. Labels are not looked at. Read from
    /// stdin (JSON or lines) where neither is given.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Only the results, and how many texts were cut.
    #[arg(long)]
    quiet: bool,
}

impl Classifying {
    /// The texts of `--text`, then those of `--input`; those of stdin where neither is given.
    ///
    /// # Errors
    /// For a file that cannot be read, or a record without a text.
    pub fn texts(&self) -> Result<Vec<String>, Failure> {
        let mut texts = self.text.clone();
        let read = match &self.input {
            Some(path) => read_texts(path),
            None if texts.is_empty() => read_texts_from("stdin", BufReader::new(std::io::stdin())),
            None => return Ok(texts),
        };
        let read = read.map_err(PipelineError::from)?;
        texts.extend(read.into_iter().map(|record| record.text));
        Ok(texts)
    }

    /// Says which model it is, and which classes it knows.
    pub fn introduce(&self, host: &Host, model: &ClassModel) {
        if !self.quiet {
            let (device, path) = (&host.device_name, model.path.display());
            let labels = model.head.labels.join(", ");
            eprintln!("device: {device}, weights: {path}, classes: {labels}");
        }
    }

    /// Prints a JSON object a line for each text, in their order, then how many were cut.
    ///
    /// # Errors
    /// Where the model gives no numbers, or stdout cannot be written.
    pub fn print(&self, model: &ClassModel, texts: &[String]) -> Result<(), Failure> {
        let (mut out, mut cut) = (Printer::default(), 0);
        for texts in texts.chunks(BATCH) {
            for found in model.classify(texts)? {
                cut += usize::from(found.is_cut);
                let line = serde_json::to_string(&found).expect("finite numbers are always JSON");
                out.print(&(line + "\n"));
            }
            if out.is_closed() {
                break;
            }
        }
        if cut > 0 {
            let (all, max) = (texts.len(), model.max_tokens());
            eprintln!(
                "cut: {cut} of {all} texts are longer than the {max} tokens that are read of each"
            );
        }
        Ok(out.finish().context("stdout")?)
    }
}
