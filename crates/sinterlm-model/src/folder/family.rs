//! The families of models whose folders can be read and written, and which one a decoder belongs to.

use serde_json::{Value, json};
use sinterlm_config::Check;

use super::gpt2;
use super::json::Keys;
use super::place::Place;
use crate::gpt::GptConfig;

/// Whose `config.json` and tensor names a folder follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Gpt2,
    /// Our own names, for options that no published family combines.
    Own,
}

impl Family {
    /// The family in which a decoder is written.
    pub(super) fn of(config: &GptConfig) -> Self {
        if gpt2::covers(config) {
            Self::Gpt2
        } else {
            Self::Own
        }
    }

    /// The family and the decoder that a `config.json` describes.
    pub(super) fn read(json: &Value) -> Result<(Self, GptConfig), String> {
        let keys = Keys(json);
        let (family, config) = match keys.text("model_type") {
            Some("gpt2") => (Self::Gpt2, gpt2::from_json(&keys)?),
            Some("sinterlm") => (Self::Own, own_from_json(json)?),
            other => {
                let known = "gpt2, sinterlm";
                return Err(match other {
                    Some(other) => format!("model_type {other:?} cannot be read, only {known}"),
                    None => format!("model_type is missing; one of {known} can be read"),
                });
            }
        };
        let faults = Check::of(&config);
        match faults.first() {
            None => Ok((family, config)),
            Some(fault) => Err(format!("{}: {}", fault.path, fault.message)),
        }
    }

    /// The `config.json` of a decoder.
    pub(super) fn to_json(self, config: &GptConfig) -> Value {
        match self {
            Self::Gpt2 => gpt2::to_json(config),
            Self::Own => json!({
                "architectures": ["SinterlmDecoder"],
                "model_type": "sinterlm",
                "decoder": config,
                "torch_dtype": "float32",
            }),
        }
    }

    /// The place of the parameter at `path` in a weights file.
    pub(super) fn place(self, path: &str) -> Place {
        match self {
            Self::Gpt2 => gpt2::place(path),
            Self::Own => Place::plain(path),
        }
    }

    /// What stands in front of the names in files of the whole model and not in those of its base.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Gpt2 => gpt2::PREFIX,
            Self::Own => "",
        }
    }

    /// Whether a tensor that no parameter takes does no harm.
    pub(super) fn is_spare(self, name: &str, config: &GptConfig) -> bool {
        match self {
            Self::Gpt2 => {
                (name == "lm_head.weight" && config.tied_head) || gpt2::is_spare(name, config)
            }
            Self::Own => false,
        }
    }
}

fn own_from_json(json: &Value) -> Result<GptConfig, String> {
    let decoder = json.get("decoder").cloned().unwrap_or_default();
    serde_json::from_value(decoder).map_err(|error| format!("decoder: {error}"))
}
