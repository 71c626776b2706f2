//! The tensors of a weights file, made of the decoder's parameters one at a time. Names and forms are
//! the families' tables, the file is the containers'.

use std::collections::BTreeMap;

use sinterlm_formats::{TensorContent, TensorHeader, TensorType};

use super::place::{Form, Place};
use crate::error::ModelError;
use crate::gpt::Gpt;
use crate::params::{LazyValues, NamedValues, lazy_values};

/// A file's tensors by name. The model's values are copied when a tensor's turn comes.
pub(super) struct FileTensors(BTreeMap<String, FileTensor>);

enum FileTensor {
    /// One parameter, or several that lie in one tensor.
    Parameters(Vec<(Form, LazyValues)>),
    /// Values that are no parameter's.
    Given(Vec<f32>),
}

impl FileTensors {
    /// The decoder's parameters where `place` puts them.
    pub(super) fn of(model: &Gpt, place: impl Fn(&str) -> Place) -> Self {
        let mut tensors = Self(BTreeMap::new());
        let mut is_fused = false;
        for values in lazy_values(model) {
            let Place { name, form } = place(&values.path);
            is_fused |= matches!(form, Form::Third { .. });
            let empty = || FileTensor::Parameters(Vec::new());
            match tensors.0.entry(name).or_insert_with(empty) {
                FileTensor::Parameters(parts) => parts.push((form, values)),
                FileTensor::Given(_) => {
                    unreachable!("none is given before all parameters are there")
                }
            }
        }
        let config = model.config();
        if is_fused && !config.qkv_bias {
            // GPT-2 always has a bias beside fused weights; where we have none, zeros do the same.
            for layer in 0..config.n_layers {
                let place = place(&format!("blocks.{layer}.attn.q.bias"));
                tensors.give(place.name, vec![0.0; 3 * config.d_model]);
            }
        }
        tensors
    }

    /// Adds a parameter that is none of the decoder's.
    pub(super) fn add(&mut self, name: String, values: LazyValues) {
        let tensor = FileTensor::Parameters(vec![(Form::Plain, values)]);
        self.0.insert(name, tensor);
    }

    /// Adds a vector that belongs to the file alone.
    pub(super) fn give(&mut self, name: String, values: Vec<f32>) {
        self.0.insert(name, FileTensor::Given(values));
    }

    /// What the file's header says of them, with the type that `dtype` has for a name and shape.
    pub(super) fn headers(
        &self,
        dtype: impl Fn(&str, &[usize]) -> TensorType,
    ) -> Vec<TensorHeader> {
        let described = |(name, tensor): (&String, &FileTensor)| {
            let shape = tensor.shape();
            TensorHeader {
                name: name.clone(),
                dtype: dtype(name, &shape),
                shape,
            }
        };
        self.0.iter().map(described).collect()
    }

    /// The values of a tensor of [`headers`](Self::headers), once.
    pub(super) fn take(&mut self, header: &TensorHeader) -> TensorContent<'static> {
        let tensor = self.0.remove(&header.name);
        let values = tensor.expect("a tensor is written once").into_values();
        TensorContent::Values(values.into())
    }
}

impl FileTensor {
    fn shape(&self) -> Vec<usize> {
        match self {
            Self::Parameters(parts) => {
                let (form, values) = parts.first().expect("made for a parameter");
                form.stored_shape(&values.shape)
            }
            Self::Given(values) => vec![values.len()],
        }
    }

    fn into_values(self) -> Vec<f32> {
        match self {
            Self::Parameters(parts) => {
                let mut stored = Vec::new();
                for (form, values) in parts {
                    let NamedValues { shape, values, .. } = values.read();
                    form.store(values, &shape, &mut stored);
                }
                stored
            }
            Self::Given(values) => values,
        }
    }
}

/// Refuses a model with parts that no file has a place for: deltas beside its weights.
pub(super) fn refuse_deltas(model: &Gpt) -> Result<(), ModelError> {
    let mut all = lazy_values(model).into_iter();
    let delta = all.find(|values| values.path.contains(".deltas."));
    delta.map_or(Ok(()), |LazyValues { path, .. }| {
        Err(ModelError::NoPlace { path })
    })
}
