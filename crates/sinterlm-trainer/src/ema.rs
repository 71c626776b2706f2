//! A moving average of the weights, on the device.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use sinterlm_kernels as kernels;
use sinterlm_model::PathStack;

use crate::state::HostTensor;
use crate::trainable::Trainable;

/// `average ← decay·average + (1 − decay)·weights`, started from the first weights it sees.
///
/// Early on the decay is lowered to `(1 + step) / (10 + step)`, so that the average follows the
/// quick start of a run (as in TensorFlow's `ExponentialMovingAverage`).
#[derive(Debug)]
pub(crate) struct Ema {
    decay: f64,
    average: BTreeMap<String, Tensor<1>>,
}

impl Ema {
    pub(crate) fn new(decay: f64) -> Self {
        Self {
            decay,
            average: BTreeMap::new(),
        }
    }

    /// Folds in the trained weights after `step` (from 1).
    pub(crate) fn update<M: Module>(&mut self, model: &M, trainable: &Trainable, step: u64) {
        let decay = self.decay.min((1.0 + step as f64) / (10.0 + step as f64));
        model.visit(&mut Fold {
            ema: self,
            trainable,
            decay,
            stack: PathStack::default(),
        });
    }

    /// The model with the average in place of its weights.
    pub(crate) fn apply<M: Module>(&self, model: M) -> M {
        model.map(&mut Replace {
            ema: self,
            stack: PathStack::default(),
        })
    }

    pub(crate) fn save(&self) -> BTreeMap<String, HostTensor> {
        let host = |(path, values): (&String, &Tensor<1>)| {
            (path.clone(), HostTensor::read(values.clone()))
        };
        self.average.iter().map(host).collect()
    }

    pub(crate) fn load(&mut self, average: BTreeMap<String, HostTensor>, device: &Device) {
        self.average = average
            .into_iter()
            .map(|(k, v)| (k, v.into_tensor(device)))
            .collect();
    }
}

struct Fold<'a> {
    ema: &'a mut Ema,
    trainable: &'a Trainable,
    decay: f64,
    stack: PathStack,
}

impl ModuleVisitor for Fold<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.stack.path();
        if !self.trainable.has(&path) {
            return;
        }
        let weight = param.val().without_autodiff();
        let len = weight.dims().iter().product::<usize>();
        let weight = weight.reshape([len]);
        let average = match self.ema.average.remove(&path) {
            Some(old) => kernels::blend(old, self.decay, weight, 1.0 - self.decay),
            None => weight.mul_scalar(1.0), // a buffer of its own: the weights change in place
        };
        self.ema.average.insert(path, average);
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.stack.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.stack.exit();
    }
}

struct Replace<'a> {
    ema: &'a Ema,
    stack: PathStack,
}

impl ModuleMapper for Replace<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(average) = self.ema.average.get(&self.stack.path()) else {
            return param;
        };
        let average = average.clone();
        param.map(|weight| average.reshape(weight.dims()))
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.stack.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.stack.exit();
    }
}
