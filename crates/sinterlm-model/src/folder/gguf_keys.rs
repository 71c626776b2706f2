//! The metadata of a GGUF file's architecture: typed reading, and the keys that would change the
//! numbers and are not read, which are refused by name. What they describe is `gguf`'s.

use sinterlm_formats::{FormatError, GgufArray, GgufField, GgufFile, GgufValue};

use crate::gpt::{GptConfig, Positions};

/// Largest size that the metadata may name, as in a `config.json`.
const MAX_SIZE: u64 = 1 << 31;

/// What keeps a file from being a decoder.
#[derive(Debug)]
pub(super) enum Fault {
    Format(FormatError),
    Text(String),
}

impl From<FormatError> for Fault {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

/// The keys of the file's architecture.
pub(super) struct Keys<'a> {
    pub(super) file: &'a GgufFile,
    pub(super) name: &'a str,
}

impl<'a> Keys<'a> {
    pub(super) fn field(&self, key: &str) -> Option<GgufField<'a>> {
        self.file.field(&format!("{}.{key}", self.name))
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, Fault> {
        Ok(self.field(key).map(|field| field.text()).transpose()?)
    }

    /// A size, or one for each layer that is the same in all.
    pub(super) fn size(&self, key: &str) -> Result<Option<usize>, Fault> {
        let Some(field) = self.field(key) else {
            return Ok(None);
        };
        let name = self.name;
        let size = if let GgufValue::Array(_) = field.value() {
            let sizes = field.ints()?;
            match sizes.split_first() {
                Some((first, rest)) if rest.iter().all(|size| size == first) && *first >= 0 => {
                    first.unsigned_abs()
                }
                _ => {
                    return Err(Fault::Text(format!(
                        "{name}.{key} is another in each layer, {}, which is not supported",
                        listed(&sizes)
                    )));
                }
            }
        } else {
            field.uint()?
        };
        if size > MAX_SIZE {
            return Err(Fault::Text(format!(
                "{name}.{key} is {size}, above {MAX_SIZE}"
            )));
        }
        Ok(Some(size as usize))
    }

    /// A size above 0, if it is there.
    pub(super) fn positive(&self, key: &str) -> Result<Option<usize>, Fault> {
        match self.size(key)? {
            Some(0) => Err(Fault::Text(format!("{}.{key} is 0", self.name))),
            size => Ok(size),
        }
    }

    /// A size above 0, which must be there.
    pub(super) fn required(&self, key: &str) -> Result<usize, Fault> {
        self.positive(key)?.ok_or_else(|| self.missing(key))
    }

    pub(super) fn number(&self, key: &str, default: f64) -> Result<f64, Fault> {
        Ok(self.optional_number(key)?.unwrap_or(default))
    }

    /// A number that must be there.
    pub(super) fn required_number(&self, key: &str) -> Result<f64, Fault> {
        self.optional_number(key)?.ok_or_else(|| self.missing(key))
    }

    pub(super) fn optional_number(&self, key: &str) -> Result<Option<f64>, Fault> {
        let number = self.field(key).map(|field| field.float()).transpose()?;
        // Written as f32; the shortest decimal is what was meant, 1e-5 and not 9.99999975e-6.
        let meant = |number: f64| (number as f32).to_string().parse().unwrap_or(number);
        Ok(number.map(meant))
    }

    fn missing(&self, key: &str) -> Fault {
        Fault::Text(format!("{}.{key} is missing", self.name))
    }
}

fn listed(sizes: &[i64]) -> String {
    let first: Vec<String> = sizes.iter().take(4).map(ToString::to_string).collect();
    let more = if sizes.len() > 4 { ", .." } else { "" };
    format!("[{}{more}]", first.join(", "))
}

/// Keys below `rope.` and `attention.` that are read.
const READ: [&str; 13] = [
    "rope.freq_base",
    "rope.dimension_count",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.attn_factor",
    "rope.scaling.original_context_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
];
/// Keys that say something about the file, or belong to norms that the architecture does not have.
const WITHOUT_EFFECT: [&str; 4] = [
    "rope.scaling.finetuned",
    "attention.layer_norm_epsilon",
    "attention.group_norm_epsilon",
    "attention.group_norm_groups",
];
/// Keys beside `rope.` and `attention.` by which other architectures change the numbers, with the
/// value at which they do not; 0 never does.
const OTHERS: [(&str, f64); 13] = [
    ("logit_scale", 1.0),
    ("embedding_scale", 1.0),
    ("residual_scale", 1.0),
    ("attn_logit_softcapping", 0.0),
    ("final_logit_softcapping", 0.0),
    ("use_parallel_residual", 0.0),
    ("swin_norm", 0.0),
    ("swiglu_clamp_exp", 0.0),
    ("interleave_moe_layer_step", 0.0),
    ("leading_dense_block_count", 0.0),
    ("full_attention_interval", 0.0),
    ("nextn_predict_layers", 0.0),
    ("n_deepstack_layers", 0.0),
];

/// Refuses the keys that would change the numbers and are not read: each below `rope.` and
/// `attention.` that is not known to be without effect, and the known ones elsewhere.
pub(super) fn refuse_unread(keys: &Keys<'_>, config: &GptConfig) -> Result<(), Fault> {
    let is_yarn = keys.text("rope.scaling.type")? == Some("yarn");
    let prefix = format!("{}.", keys.name);
    for (name, value) in keys.file.metadata() {
        let Some(key) = name.strip_prefix(&prefix) else {
            continue;
        };
        let is_neutral = |neutral: f64| {
            let numbers = numbers(value);
            let fits = |x: &f64| *x == 0.0 || (x - neutral).abs() <= 1e-6 * neutral.abs();
            numbers.is_some_and(|numbers| numbers.iter().all(fits))
        };
        let scale = 1.0 / (config.head_dim() as f64).sqrt();
        let rotates = config.positions == Positions::Rope;
        let harmless = match key {
            // Each kind of position and of norm has keys that the other does not read.
            _ if !rotates && key.starts_with("rope.") => true,
            _ if READ.contains(&key) || WITHOUT_EFFECT.contains(&key) => true,
            "attention.causal" => numbers(value) == Some(vec![1.0]),
            "attention.scale" => is_neutral(scale),
            "attention.output_scale" | "attention.value_scale" | "rope.scaling.alpha" => {
                is_neutral(1.0)
            }
            "attention.sliding_window_pattern" => config.window == 0 || is_neutral(0.0),
            // A file that says -1 leaves it to the type of scaling.
            "rope.scaling.yarn_ext_factor" => {
                let usual = f64::from(u8::from(is_yarn));
                let is = |x: &f64| *x < 0.0 || (x - usual).abs() < 1e-6;
                numbers(value).is_some_and(|numbers| numbers.iter().all(is))
            }
            "rope.scaling.yarn_attn_factor" => {
                let is = |x: &f64| *x < 0.0 || (x - 1.0).abs() < 1e-6;
                numbers(value).is_some_and(|numbers| numbers.iter().all(is))
            }
            "rope.scaling.yarn_beta_fast" => !is_yarn || is_neutral(32.0),
            "rope.scaling.yarn_beta_slow" => !is_yarn || is_neutral(1.0),
            "hidden_activation" => {
                let known: &[&str] = if rotates {
                    &["silu", "swish", "swiglu"]
                } else {
                    &["gelu", "gelu_new", "gelu_pytorch_tanh"]
                };
                matches!(value, GgufValue::String(name) if known.contains(&name.as_str()))
            }
            _ if key.ends_with("_swa") => config.window == 0 || is_neutral(0.0),
            _ if key.starts_with("rope.") || key.starts_with("attention.") => is_neutral(0.0),
            _ => OTHERS
                .iter()
                .find(|(other, _)| *other == key)
                .is_none_or(|(_, neutral)| is_neutral(*neutral)),
        };
        if !harmless {
            return Err(Fault::Text(format!(
                "{name} = {} changes the numbers and is not supported",
                shown(value)
            )));
        }
    }
    Ok(())
}

/// The numbers of a value, truth values as 0 and 1; none of texts.
fn numbers(value: &GgufValue) -> Option<Vec<f64>> {
    fn all<T: Copy + Into<f64>>(items: &[T]) -> Vec<f64> {
        items.iter().map(|item| (*item).into()).collect()
    }
    let bit = |x: bool| f64::from(u8::from(x));
    Some(match value {
        GgufValue::U8(x) => vec![(*x).into()],
        GgufValue::I8(x) => vec![(*x).into()],
        GgufValue::U16(x) => vec![(*x).into()],
        GgufValue::I16(x) => vec![(*x).into()],
        GgufValue::U32(x) => vec![(*x).into()],
        GgufValue::I32(x) => vec![(*x).into()],
        GgufValue::F32(x) => vec![(*x).into()],
        GgufValue::U64(x) => vec![*x as f64],
        GgufValue::I64(x) => vec![*x as f64],
        GgufValue::F64(x) => vec![*x],
        GgufValue::Bool(x) => vec![bit(*x)],
        GgufValue::Array(array) => match array {
            GgufArray::U8(items) => all(items),
            GgufArray::I8(items) => all(items),
            GgufArray::U16(items) => all(items),
            GgufArray::I16(items) => all(items),
            GgufArray::U32(items) => all(items),
            GgufArray::I32(items) => all(items),
            GgufArray::F32(items) => all(items),
            GgufArray::F64(items) => items.clone(),
            GgufArray::U64(items) => items.iter().map(|x| *x as f64).collect(),
            GgufArray::I64(items) => items.iter().map(|x| *x as f64).collect(),
            GgufArray::Bool(items) => items.iter().map(|x| bit(*x)).collect(),
            GgufArray::String(_) | GgufArray::Array(_) => return None,
        },
        GgufValue::String(_) => return None,
    })
}

/// A value as a message shows it.
fn shown(value: &GgufValue) -> String {
    match (value, numbers(value)) {
        (GgufValue::Bool(x), _) => x.to_string(),
        (GgufValue::F32(x), _) => x.to_string(),
        (GgufValue::String(text), _) => format!("{:?}", text.chars().take(40).collect::<String>()),
        (GgufValue::Array(_), _) | (_, None) => value.type_name(),
        (_, Some(numbers)) => numbers.iter().map(ToString::to_string).collect(),
    }
}
