//! Optimizers keyed by parameter path: which rule a parameter follows, and the state of each.

mod config;
mod rules;

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};

pub use config::{OptimizerConfig, OptimizerKind};

use crate::state::HostTensor;
use rules::Rule;

/// Updates parameters one at a time and keeps their state.
///
/// State is kept as flat vectors under `path.name`, for example `blocks.0.attn.q.weight.m`.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    state: BTreeMap<String, Tensor<1>>,
}

/// What all parameters of one optimizer step share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Number of the step, from 1.
    pub step: u64,
    /// The schedule's factor on the peak rates.
    pub lr_factor: f64,
    /// Factor on every gradient: clipping.
    pub grad_scale: f32,
}

impl Optimizer {
    /// An optimizer without state.
    pub fn new(config: OptimizerConfig) -> Self {
        Self {
            config,
            state: BTreeMap::new(),
        }
    }

    /// The numbers in force.
    pub fn config(&self) -> &OptimizerConfig {
        &self.config
    }

    /// Updates one parameter: plain tensors, no autodiff. In place where the buffers are unique.
    pub fn update<const D: usize>(
        &mut self,
        path: &str,
        weight: Tensor<D>,
        grad: Tensor<D>,
        update: &Update,
    ) -> Tensor<D> {
        let rule = Rule::of(&self.config, path, D);
        let mut state = ParamState {
            path,
            state: &mut self.state,
        };
        rule.update(&mut state, weight, grad, update)
    }

    /// Copies the state to the host, by name.
    pub fn save(&self) -> BTreeMap<String, HostTensor> {
        let host = |(name, values): (&String, &Tensor<1>)| {
            (name.clone(), HostTensor::read(values.clone()))
        };
        self.state.iter().map(host).collect()
    }

    /// Puts a saved state back.
    pub fn load(&mut self, state: BTreeMap<String, HostTensor>, device: &Device) {
        self.state = state
            .into_iter()
            .map(|(k, v)| (k, v.into_tensor(device)))
            .collect();
    }
}

/// One parameter's part of the optimizer's state.
struct ParamState<'a> {
    path: &'a str,
    state: &'a mut BTreeMap<String, Tensor<1>>,
}

impl ParamState<'_> {
    /// Takes a state tensor out in the given shape, or zeros of it on the first step.
    fn take<const D: usize>(&mut self, name: &str, like: &Tensor<D>) -> Tensor<D> {
        match self.state.remove(&format!("{}.{name}", self.path)) {
            Some(values) => values.reshape(like.dims()),
            None => like.zeros_like(),
        }
    }

    /// Puts it back.
    fn put<const D: usize>(&mut self, name: &str, values: Tensor<D>) {
        let len = values.dims().iter().product::<usize>();
        self.state
            .insert(format!("{}.{name}", self.path), values.reshape([len]));
    }
}

#[cfg(test)]
mod tests;
