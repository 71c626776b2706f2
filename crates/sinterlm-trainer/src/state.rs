//! Everything a run needs to go on: one ordered map of tensors and one of scalars.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::Value;

/// A tensor on the host: shape and values, row-major f32.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Shape.
    pub shape: Vec<usize>,
    /// Values.
    pub values: Vec<f32>,
}

impl HostTensor {
    /// Copies a tensor from its device.
    pub fn read<const D: usize>(tensor: Tensor<D>) -> Self {
        let shape = tensor.dims().to_vec();
        let data = tensor.without_autodiff().into_data().convert::<f32>();
        Self {
            shape,
            values: data.try_into_vec().expect("just converted to f32"),
        }
    }

    /// Moves it to a device, as rank 1.
    pub fn into_tensor(self, device: &Device) -> Tensor<1> {
        let len = self.values.len();
        Tensor::from_data(TensorData::new(self.values, [len]), device)
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
}
