//! What a path describes: the decoder and the layout of its weights, from a folder's `config.json` or
//! a file's own header.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use sinterlm_formats::{FormatError, TensorSource, WeightFile, refuse_lfs_pointer};

use super::family::Family;
use super::gguf::{self, Architecture};
use super::gguf_keys::Fault;
use super::llama2c;
use super::names::CONFIG;
use super::place::Place;
use super::spare::{InPlace, same_numbers};
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
                    Fault::Format(error) => ModelError::Format(error),
                    Fault::Text(text) => fault(text),
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

    /// What the model has in place of a tensor that no parameter takes; none where it has nothing.
    pub(super) fn in_place_of(&self, name: &str) -> Option<InPlace> {
        match self.layout {
            Layout::Folder(family) => family.in_place_of(name, &self.config),
            Layout::Gguf(_) => gguf::in_place_of(name, &self.config),
            Layout::Llama2c => None,
        }
    }

    /// The name in a file of the tensor called `name` in whole models: files of the base model leave
    /// the front of it out.
    pub(super) fn find<'a>(&self, name: &str, names: &BTreeSet<&'a str>) -> Option<&'a str> {
        let base = name.strip_prefix(self.prefix());
        let known = |name: &str| names.get(name).copied();
        known(name).or_else(|| base.and_then(known))
    }

    /// Makes a tied head one of its own where the weights hold it with other values than the
    /// embedding's, as `transformers` 5 does, and tells whether it did.
    pub(super) fn untie_unequal(&mut self, source: &dyn TensorSource) -> Result<bool, FormatError> {
        if !self.config.tied_head
            || !matches!(self.layout, Layout::Folder(Family::Gpt2 | Family::Llama(_)))
        {
            return Ok(false);
        }
        let names = source.tensor_names().into_iter().collect();
        let find = |path: &str| self.find(&self.place(path).name, &names);
        let (Some(table), Some(head)) = (find("wte.weight"), find("head.weight")) else {
            return Ok(false);
        };
        let is_tied = same_numbers(&source.stored(table)?, &source.stored(head)?);
        self.config.tied_head = is_tied;
        Ok(!is_tied)
    }
}

/// Reads a JSON file.
pub(super) fn read_json(path: &Path) -> Result<Value, ModelError> {
    let fault = |fault: String| ModelError::Folder {
        path: path.to_owned(),
        fault,
    };
    let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
    refuse_lfs_pointer(path, text.as_bytes())?;
    serde_json::from_str(&text).map_err(|error| fault(error.to_string()))
}
