//! The families whose folders can be read and written, and the one a decoder belongs to.

use serde_json::{Value, json};
use sinterlm_config::Check;

use super::gpt2;
use super::json::Keys;
use super::llama::{self, Member};
use super::names::SCORE;
use super::place::Place;
use super::spare::InPlace;
use crate::gpt::{GptConfig, Positions};

/// Most blocks that a file may name, so that a damaged one cannot ask for endless memory.
const MAX_LAYERS: usize = 10_000;
/// Largest size of anything, likewise; the product of two stays far from overflowing.
const MAX_SIZE: usize = 1 << 31;

/// Whose `config.json` and tensor names a folder follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Gpt2,
    Llama(Member),
    /// Our own names, for options that no published family combines.
    Own,
}

impl Family {
    /// The family in which a decoder is written: the first whose `config.json` gives it back whole.
    pub(super) fn of(config: &GptConfig) -> Self {
        let members = Member::ALL.into_iter().map(Self::Llama);
        std::iter::once(Self::Gpt2)
            .chain(members)
            .find(|family| {
                let json = family.to_json(config);
                let read = family.config_of(&json);
                read.is_ok_and(|read| resolved(&read) == resolved(config))
            })
            .unwrap_or(Self::Own)
    }

    /// The family and the decoder that a `config.json` describes.
    pub(super) fn read(json: &Value) -> Result<(Self, GptConfig), String> {
        let family = Self::named(Keys(json).text("model_type")?)?;
        if let Some(quantization) = Keys(json).get("quantization_config") {
            let method = quantization["quant_method"].as_str().unwrap_or("unknown");
            return Err(format!(
                "quantization_config: weights quantised by {method} cannot be read; \
                 take the original ones, or a GGUF"
            ));
        }
        let config = family.config_of(json)?;
        checked(&config)?;
        Ok((family, config))
    }

    fn named(model_type: Option<&str>) -> Result<Self, String> {
        let model_type = model_type.ok_or("model_type is missing")?;
        let members = Member::ALL.into_iter();
        let mut known: Vec<(&str, Self)> = members
            .map(|member| (member.model_type(), Self::Llama(member)))
            .collect();
        known.extend([("gpt2", Self::Gpt2), ("sinterlm", Self::Own)]);
        let found = known.iter().find(|(name, _)| *name == model_type);
        found.map(|(_, family)| *family).ok_or_else(|| {
            let known: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            format!(
                "model_type {model_type:?} cannot be read, only {}",
                known.join(", ")
            )
        })
    }

    fn config_of(self, json: &Value) -> Result<GptConfig, String> {
        match self {
            Self::Gpt2 => gpt2::from_json(&Keys(json)),
            Self::Llama(member) => llama::from_json(member, &Keys(json)),
            Self::Own => {
                let decoder = json.get("decoder").ok_or("decoder is missing")?;
                serde_json::from_value(decoder.clone()).map_err(|error| format!("decoder: {error}"))
            }
        }
    }

    /// The `config.json` of a decoder.
    pub(super) fn to_json(self, config: &GptConfig) -> Value {
        match self {
            Self::Gpt2 => gpt2::to_json(config),
            Self::Llama(member) => llama::to_json(member, config),
            Self::Own => json!({
                "architectures": [self.class("Decoder")],
                "model_type": "sinterlm",
                "decoder": config,
                "torch_dtype": "float32",
            }),
        }
    }

    /// The name of the family's class for a task, such as `LlamaForCausalLM`.
    pub(super) fn class(self, task: &str) -> String {
        let name = match self {
            Self::Gpt2 => "GPT2",
            Self::Llama(member) => member.class_name(),
            Self::Own => "Sinterlm",
        };
        format!("{name}{task}")
    }

    /// The place of the parameter at `path` of a decoder, or of a class head, in a weights file.
    ///
    /// # Panics
    /// If the family has no such parameter.
    pub(super) fn place(self, path: &str) -> Place {
        let place = match self {
            _ if path == SCORE => Some(Place::plain(path)),
            Self::Gpt2 => gpt2::place(path),
            Self::Llama(_) => llama::place(path),
            Self::Own => Some(Place::plain(path)),
        };
        place.unwrap_or_else(|| panic!("{self:?} has no parameter `{path}`"))
    }

    /// What stands in front of the names in files of the whole model and not in those of its base.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Gpt2 => gpt2::PREFIX,
            Self::Llama(_) => llama::PREFIX,
            Self::Own => "",
        }
    }

    /// What the model has in place of a tensor that no parameter takes; none where it has nothing.
    pub(super) fn in_place_of(self, name: &str, config: &GptConfig) -> Option<InPlace> {
        let tied = config.tied_head && name == "lm_head.weight";
        match self {
            Self::Own => None,
            _ if tied => Some(InPlace::Compared),
            Self::Gpt2 => gpt2::in_place_of(name, config),
            Self::Llama(_) => llama::in_place_of(name),
        }
    }
}

/// Refuses a config that cannot be, or whose sizes belong to no model.
pub(super) fn checked(config: &GptConfig) -> Result<(), String> {
    let sizes = [
        ("vocabulary", config.vocab_size),
        ("context", config.max_seq_len),
        ("width", config.d_model),
        ("number of layers", config.n_layers),
        ("number of heads", config.n_heads),
    ];
    let or_default = [config.n_kv_heads, config.head_dim, config.d_ff];
    let sizes = sizes
        .into_iter()
        .chain(or_default.map(|size| ("size", size.max(1))));
    for (name, size) in sizes {
        if size == 0 || size > MAX_SIZE {
            return Err(format!("a {name} of {size} is no model's"));
        }
    }
    if config.n_layers > MAX_LAYERS {
        return Err(format!(
            "{} layers are more than {MAX_LAYERS}",
            config.n_layers
        ));
    }
    if let Some(fault) = Check::of(config).first() {
        return Err(format!("{}: {}", fault.path, fault.message));
    }
    let heads = config.n_heads * config.head_dim();
    if heads > MAX_SIZE {
        return Err(format!("heads of width {heads} together are no model's"));
    }
    Ok(())
}

/// The config with what its defaults stand for, so that equal decoders compare equal.
fn resolved(config: &GptConfig) -> GptConfig {
    let mut resolved = GptConfig {
        n_kv_heads: config.n_kv_heads(),
        head_dim: config.head_dim(),
        d_ff: config.d_ff(),
        ..config.clone()
    };
    if config.positions == Positions::Learned {
        resolved.rope_theta = GptConfig::default().rope_theta;
    }
    resolved.global_layers.sort_unstable();
    resolved.global_layers.dedup();
    resolved
}
