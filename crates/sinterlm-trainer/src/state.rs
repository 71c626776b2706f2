//! Everything a run needs to go on: one ordered map of tensors and one of scalars.

use std::collections::BTreeMap;

use burn::tensor::{DType, Device, Tensor, TensorData};
use serde_json::Value;
use sinterlm_formats::{Dtype, TensorEntry, TensorView};

/// A tensor on the host, row-major, of f32, bf16 or bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    data: TensorData,
}

impl HostTensor {
    /// Copies a tensor from its device; bf16 stays, other formats become f32.
    pub fn read<const D: usize>(tensor: Tensor<D>) -> Self {
        let data = tensor.without_autodiff().into_data();
        Self {
            data: match data.dtype() {
                DType::F32 | DType::BF16 => data,
                _ => data.convert::<f32>(),
            },
        }
    }

    /// A vector of bytes.
    pub(crate) fn bytes(values: Vec<u8>) -> Self {
        let len = values.len();
        Self {
            data: TensorData::new(values, [len]),
        }
    }

    /// A vector of f32.
    pub(crate) fn floats(values: Vec<f32>) -> Self {
        let len = values.len();
        Self {
            data: TensorData::new(values, [len]),
        }
    }

    /// Its memory as it is.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.data.as_bytes()
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.data.num_elements()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values, widened to f32.
    pub fn to_f32(&self) -> Vec<f32> {
        self.data.iter().collect()
    }

    /// Moves it to a device, as rank 1 in f32.
    pub fn into_tensor(self, device: &Device) -> Tensor<1> {
        let len = self.len();
        let (bytes, _, dtype) = self.data.into_parts();
        let data = TensorData::from_bytes(bytes, [len], dtype).convert::<f32>();
        Tensor::from_data(data, device)
    }

    /// What a safetensors file stores of it, without a copy.
    pub(crate) fn entry(&self, name: &str) -> TensorEntry<'_> {
        TensorEntry {
            name: name.to_owned(),
            dtype: match self.data.dtype() {
                DType::BF16 => Dtype::BF16,
                DType::U8 => Dtype::U8,
                _ => Dtype::F32,
            },
            shape: self.data.shape().iter().copied().collect(),
            data: self.data.as_bytes().into(),
        }
    }

    /// Reads it back; `None` where it is of another type.
    pub(crate) fn from_view(view: &TensorView<'_>) -> Option<Self> {
        let dtype = match view.dtype {
            Dtype::F32 => DType::F32,
            Dtype::BF16 => DType::BF16,
            Dtype::U8 => DType::U8,
            _ => return None,
        };
        let data = TensorData::from_bytes_vec(view.data.to_vec(), view.shape.clone(), dtype);
        Some(Self { data })
    }
}

/// The state of a run beside the model's weights, which are saved as a model folder of their own.
///
/// Keys are paths whose first part is the section: `optimizer/…`, `ema/…`, `objective/…` for
/// tensors; `step`, `tokens` and the meters for scalars. The trainer is its only writer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainState {
    /// Tensors by path.
    pub tensors: BTreeMap<String, HostTensor>,
    /// Everything else by path.
    pub scalars: BTreeMap<String, Value>,
}

impl TrainState {
    /// Adds a section's tensors under `section/`.
    pub fn put_section(&mut self, section: &str, tensors: BTreeMap<String, HostTensor>) {
        let named = tensors
            .into_iter()
            .map(|(name, t)| (format!("{section}/{name}"), t));
        self.tensors.extend(named);
    }

    /// Takes a section's tensors out, without the prefix.
    pub fn take_section(&mut self, section: &str) -> BTreeMap<String, HostTensor> {
        let prefix = format!("{section}/");
        let names: Vec<String> = self
            .tensors
            .keys()
            .filter(|name| name.starts_with(&prefix))
            .cloned()
            .collect();
        names
            .into_iter()
            .filter_map(|name| Some((name[prefix.len()..].to_owned(), self.tensors.remove(&name)?)))
            .collect()
    }

    /// A scalar as a whole number, 0 where absent.
    pub fn number(&self, key: &str) -> u64 {
        self.scalars.get(key).and_then(Value::as_u64).unwrap_or(0)
    }

    /// Puts a number that has to come back bit for bit. It is kept as text: JSON readers, ours
    /// among them, may be off by the last digit, and JSON has no infinity.
    pub fn put_float(&mut self, key: &str, value: f64) {
        self.scalars
            .insert(key.to_owned(), format!("{value:?}").into());
    }

    /// A number put by [`put_float`](Self::put_float), or a JSON number.
    pub fn float(&self, key: &str) -> Option<f64> {
        match self.scalars.get(key)? {
            Value::String(text) => text.parse().ok(),
            other => other.as_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn floats_come_back_bit_for_bit_through_json(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            let mut state = TrainState::default();
            state.put_float("x", value);
            let text = serde_json::to_string(&state.scalars).unwrap();
            state.scalars = serde_json::from_str(&text).unwrap();
            let back = state.float("x").unwrap();
            prop_assert!(back.to_bits() == bits || value.is_nan() && back.is_nan());
        }
    }
}
