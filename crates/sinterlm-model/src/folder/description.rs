//! What a path describes: the decoder and the layout of its weights, from a folder's `config.json` or
//! a file's own header.

use std::path::Path;

use serde_json::Value;
use sinterlm_formats::WeightFile;

use super::family::Family;
use super::gguf::{self, Architecture};
use super::llama2c;
use super::names::CONFIG;
use super::place::Place;
use crate::error::ModelError;
use crate::gpt::GptConfig;

/// A decoder and how its tensors are named.
#[derive(Clone, Debug)]
pub(super) struct Description {
    pub(super) config: GptConfig,
    layout: Layout,
}

#[derive(Clone, Copy, Debug)]
enum Layout {
    Folder(Family),
    Gguf(Architecture),
    Llama2c,
}

impl Description {
    /// Reads the description at a folder or file.
    pub(super) fn read(path: &Path) -> Result<Self, ModelError> {
        if path.is_dir() || !path.exists() {
            return Self::of_folder(path);
        }
        let fault = |fault: String| ModelError::Folder {
            path: path.to_owned(),
            fault,
        };
        match WeightFile::open(path)? {
            WeightFile::Gguf(file) => {
                let (architecture, config) = gguf::read(&file).map_err(|error| match error {
                    gguf::Fault::Format(error) => ModelError::Format(error),
                    gguf::Fault::Text(text) => fault(text),
                })?;
                super::family::checked(&config).map_err(fault)?;
                Ok(Self {
                    config,
                    layout: Layout::Gguf(architecture),
                })
            }
            WeightFile::Llama2c(file) => {
                let config = llama2c::config(file.config());
                super::family::checked(&config).map_err(fault)?;
                Ok(Self {
                    config,
                    layout: Layout::Llama2c,
                })
            }
            _ => Err(fault(
                "holds tensors and does not describe their model".to_owned(),
            )),
        }
    }

    fn of_folder(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join(CONFIG);
        let fault = |fault: String| ModelError::Folder {
            path: path.clone(),
            fault,
        };
        let json = read_json(&path)?;
        let (family, config) = Family::read(&json).map_err(fault)?;
        Ok(Self {
            config,
            layout: Layout::Folder(family),
        })
    }

    /// The place of the parameter at `path` in the weights.
    pub(super) fn place(&self, path: &str) -> Place {
        match self.layout {
            Layout::Folder(family) => family.place(path),
            Layout::Gguf(architecture) => gguf::place(architecture, path, &self.config),
            Layout::Llama2c => llama2c::place(path, &self.config),
        }
    }

    /// What stands in front of the names in files of the whole model and not in those of its base.
    pub(super) fn prefix(&self) -> &'static str {
        match self.layout {
            Layout::Folder(family) => family.prefix(),
            Layout::Gguf(_) | Layout::Llama2c => "",
        }
    }

    /// Whether a tensor that no parameter takes does no harm.
    pub(super) fn is_spare(&self, name: &str) -> bool {
        match self.layout {
            Layout::Folder(family) => family.is_spare(name, &self.config),
            Layout::Gguf(_) => gguf::is_spare(name, &self.config),
            Layout::Llama2c => false,
        }
    }
}

/// Reads a JSON file.
pub(super) fn read_json(path: &Path) -> Result<Value, ModelError> {
    let fault = |fault: String| ModelError::Folder {
        path: path.to_owned(),
        fault,
    };
    let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| fault(error.to_string()))
}
