//! Optimizers keyed by parameter path: which rule a parameter follows, and the state of each.

mod config;
mod rules;
mod size;

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, FloatDType, Tensor};
use sinterlm_kernels::{
    self as kernels, MatmulPrecision, Moment, MomentCodes, MomentFormat, MomentKind,
};
use sinterlm_model::PathStack;

pub use config::{Moments, OptimizerConfig, OptimizerKind};
pub use size::OptimizerMemory;

use crate::gradients::Gradients;
use crate::state::HostTensor;
use rules::Rule;

/// What the names of 8-bit moments end in when they are saved.
const CODES: &str = ".codes";
const SCALES: &str = ".scales";

/// Updates parameters one at a time and keeps their state.
///
/// State is kept as flat vectors under `path.name`, for example `blocks.0.attn.q.weight.m`, in the
/// format that [`OptimizerConfig::moments`] names, and saved in it.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    state: BTreeMap<String, Moment>,
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
    /// Number format of the rule's own matrix products (Muon's).
    pub precision: MatmulPrecision,
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
            config: &self.config,
            state: &mut self.state,
        };
        rule.update(&mut state, weight, grad, update)
    }

    /// Updates every parameter of a module that has a gradient.
    ///
    /// Muon's matrices are orthogonalised together, since one alone can't keep all cores busy.
    pub(crate) fn step<M: Module>(
        &mut self,
        model: M,
        mut gradients: Gradients,
        update: &Update,
    ) -> M {
        let mut directions = BTreeMap::new();
        if self.config.kind == OptimizerKind::Muon {
            let mut ahead = Ahead {
                optimizer: self,
                gradients: &mut gradients,
                update,
                matrices: Vec::new(),
                stack: PathStack::default(),
            };
            model.visit(&mut ahead);
            let (paths, matrices): (Vec<_>, Vec<_>) = ahead.matrices.into_iter().unzip();
            let orthogonal =
                kernels::orthogonalize_all(matrices, self.config.muon_steps, update.precision);
            directions = paths.into_iter().zip(orthogonal).collect();
        }
        let stack = PathStack::default();
        model.map(&mut Apply {
            optimizer: self,
            gradients,
            directions,
            update,
            stack,
        })
    }

    /// Copies the state to the host, by name, in the formats that it is kept in; 8-bit moments as
    /// `name.codes` and `name.scales`.
    pub fn save(&self) -> BTreeMap<String, HostTensor> {
        let mut saved = BTreeMap::new();
        for (name, moment) in &self.state {
            if let Some(MomentCodes { codes, scales }) = moment.to_codes() {
                saved.insert(format!("{name}{CODES}"), HostTensor::bytes(codes));
                saved.insert(format!("{name}{SCALES}"), HostTensor::floats(scales));
                continue;
            }
            let values = moment.clone().into_values();
            let values = match moment.format() {
                MomentFormat::Bf16 => values.cast(FloatDType::BF16),
                _ => values,
            };
            saved.insert(name.clone(), HostTensor::read(values));
        }
        saved
    }

    /// Puts a saved state back, whatever format it was kept in.
    ///
    /// # Errors
    /// The name of a moment whose codes and scales don't belong together.
    pub fn load(
        &mut self,
        mut saved: BTreeMap<String, HostTensor>,
        device: &Device,
    ) -> Result<(), String> {
        self.state.clear();
        let is_coded = |key: &String| key.ends_with(CODES);
        let coded: Vec<String> = saved.keys().filter(|key| is_coded(key)).cloned().collect();
        for key in coded {
            let name = key[..key.len() - CODES.len()].to_owned();
            let parts = saved
                .remove(&key)
                .zip(saved.remove(&format!("{name}{SCALES}")));
            let moment = parts.and_then(|(codes, scales)| {
                let parts = MomentCodes {
                    codes: codes.as_bytes().to_vec(),
                    scales: scales.to_f32(),
                };
                Moment::from_codes(parts, kind_of(&name), device)
            });
            let Some(mut moment) = moment else {
                return Err(name);
            };
            let format = self.config.format(moment.len());
            if moment.format() != format {
                moment = Moment::new(moment.into_values(), kind_of(&name), format);
            }
            self.state.insert(name, moment);
        }
        for (name, values) in saved {
            let format = self.config.format(values.len());
            let moment = Moment::new(values.into_tensor(device), kind_of(&name), format);
            self.state.insert(name, moment);
        }
        Ok(())
    }

    /// Bytes of state held now.
    pub fn state_bytes(&self) -> usize {
        self.state.values().map(Moment::size_bytes).sum()
    }
}

/// One parameter's part of the optimizer's state.
struct ParamState<'a> {
    path: &'a str,
    config: &'a OptimizerConfig,
    state: &'a mut BTreeMap<String, Moment>,
}

impl ParamState<'_> {
    /// Takes a moment of a parameter like this out, or zeros on the first step.
    fn take<const D: usize>(&mut self, name: &str, like: &Tensor<D>) -> Moment {
        let found = self.state.remove(&format!("{}.{name}", self.path));
        found.unwrap_or_else(|| {
            let len = like.dims().iter().product();
            Moment::zeros(len, kind_of(name), self.config.format(len), &like.device())
        })
    }

    /// Puts it back.
    fn put(&mut self, name: &str, moment: Moment) {
        self.state.insert(format!("{}.{name}", self.path), moment);
    }

    /// [`take`](Self::take) as a tensor.
    fn take_values<const D: usize>(&mut self, name: &str, like: &Tensor<D>) -> Tensor<D> {
        self.take(name, like).into_values().reshape(like.dims())
    }

    /// [`put`](Self::put) of a tensor.
    fn put_values<const D: usize>(&mut self, name: &str, values: Tensor<D>) {
        let len = values.dims().iter().product::<usize>();
        let format = self.config.format(len);
        self.put(
            name,
            Moment::new(values.reshape([len]), kind_of(name), format),
        );
    }
}

/// Second moments are called `v`, as the last part of a path or alone.
fn kind_of(name: &str) -> MomentKind {
    match name.rsplit('.').next() {
        Some("v") => MomentKind::Second,
        _ => MomentKind::First,
    }
}

/// Takes the gradients of Muon's matrices and turns them into momentum.
struct Ahead<'a> {
    optimizer: &'a mut Optimizer,
    gradients: &'a mut Gradients,
    update: &'a Update,
    matrices: Vec<(String, Tensor<2>)>,
    stack: PathStack,
}

impl ModuleVisitor for Ahead<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.stack.path();
        let rule = Rule::of(&self.optimizer.config, &path, D);
        if !rule.is_muon() {
            return;
        }
        let Some(grad) = self.gradients.remove::<D>(param.id) else {
            return;
        };
        let mut state = ParamState {
            path: &path,
            config: &self.optimizer.config,
            state: &mut self.optimizer.state,
        };
        let ahead = rule.muon_momentum(&mut state, grad, self.update);
        self.matrices.push((path, ahead));
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.stack.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.stack.exit();
    }
}

/// Moves every parameter that has a direction or a gradient.
struct Apply<'a> {
    optimizer: &'a mut Optimizer,
    gradients: Gradients,
    directions: BTreeMap<String, Tensor<2>>,
    update: &'a Update,
    stack: PathStack,
}

impl ModuleMapper for Apply<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.stack.path();
        let direction = self.directions.remove(&path);
        let grad = self.gradients.remove(param.id);
        if direction.is_none() && grad.is_none() {
            return param;
        }
        // Taken apart so that the weight's buffer has one owner and can be updated in place.
        let (id, weight, mapper) = param.consume();
        let mut weight = weight.without_autodiff();
        if let Some(direction) = direction {
            let rule = Rule::of(&self.optimizer.config, &path, D);
            weight = rule.muon_apply(weight, direction, self.update);
        }
        if let Some(grad) = grad {
            weight = self.optimizer.update(&path, weight, grad, self.update);
        }
        Param::from_mapped_value(id, weight.autodiff().require_grad(), mapper)
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.stack.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.stack.exit();
    }
}

#[cfg(test)]
mod tests;
