//! Options of the programs that read a model.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use sinterlm::burn::tensor::{DType, Device};
use sinterlm::kernels::Route;
use sinterlm::model::WeightsAs;
use sinterlm::pipeline::{ClassModel, Host, open_model};
use sinterlm::run::thread_count;
use sinterlm::text::{OpenOptions, TextModel};

use crate::exit::Failure;
use crate::terminal::host_on;

/// Which model, and where it runs.
#[derive(Clone, Debug, Args)]
pub struct ModelOptions {
    /// Weights: run directory, checkpoint, model folder, GGUF or llama2.c file, or owner/name on the
    /// Hub.
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
    /// Another tokenizer than the weights': tokenizer.json, a folder with one, tokenizer.bin, GGUF.
    #[arg(long, value_name = "PATH")]
    pub tokenizer: Option<PathBuf>,
    /// CPU threads; all cores where absent.
    #[arg(long, value_name = "N", value_parser = thread_count)]
    pub threads: Option<NonZeroUsize>,
    /// auto, flex, wgpu, vulkan, metal, cuda, cuda:1
    #[arg(long, value_name = "D", default_value = "auto")]
    device: String,
    /// Never touch the network.
    #[arg(long)]
    offline: bool,
}

impl ModelOptions {
    /// The host on `--device`.
    ///
    /// # Errors
    /// Where this build or machine has no such device.
    pub fn host(&self) -> Result<Host, Failure> {
        let mut host = host_on(&self.device, true)?;
        host.offline = self.offline;
        Ok(host)
    }

    /// The model of `--model`.
    ///
    /// # Errors
    /// Where there is none, or its parts do not belong together.
    pub fn open(&self, weights: WeightsAs, host: &Host) -> Result<TextModel, Failure> {
        self.open_other(&self.model, weights, host)
    }

    /// The classifier of `--model`.
    ///
    /// # Errors
    /// Where there is none, or its parts do not belong together.
    pub fn open_classes(&self, host: &Host) -> Result<ClassModel, Failure> {
        let tokenizer = self.tokenizer.as_deref();
        Ok(ClassModel::open(&self.model, tokenizer, host)?)
    }

    /// Another model beside it, with the same tokenizer.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_other(
        &self,
        path: &Path,
        weights: WeightsAs,
        host: &Host,
    ) -> Result<TextModel, Failure> {
        let tokenizer = self.tokenizer.clone();
        Ok(open_model(path, &OpenOptions { tokenizer, weights }, host)?)
    }
}

/// `--weights`: how a program that generates holds a model's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WeightsChoice {
    /// As f32 numbers.
    F32,
    /// As the file stores them.
    Stored,
}

impl WeightsChoice {
    /// The choice made, or the faster one: on the CPU products read stored weights in place, on other
    /// devices they would be unpacked each time.
    pub fn on(choice: Option<Self>, device: &Device) -> WeightsAs {
        match (choice, Route::of(device, DType::F32)) {
            (Some(Self::F32), _) | (None, Route::Composed) => WeightsAs::F32,
            (Some(Self::Stored), _) | (None, Route::Native) => WeightsAs::Stored,
        }
    }
}
