//! Optimizers keyed by parameter path: which rule a parameter follows, and the state of each.

mod config;
mod group;
mod param_state;
mod rules;
mod size;
mod update;

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, FloatDType, Tensor};
use sinterlm_kernels::{self as kernels, Moment, MomentCodes, MomentFormat};
use sinterlm_model::PathStack;

pub use config::{Moments, OptimizerConfig, OptimizerKind};
pub use group::ParamGroup;
pub use size::OptimizerMemory;
pub use update::Update;

use crate::error::TrainError;
use crate::gradients::Gradients;
use crate::state::HostTensor;
use param_state::{ParamState, kind_of};
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
    /// The number of the group that a parameter belongs to, by path.
    groups: BTreeMap<String, usize>,
    state: BTreeMap<String, Moment>,
}

impl Optimizer {
    /// An optimizer without state.
    pub fn new(config: OptimizerConfig) -> Self {
        Self {
            config,
            groups: BTreeMap::new(),
            state: BTreeMap::new(),
        }
    }

    /// Assigns the parameters of a model, given by their paths, to the groups of the config. Where
    /// several groups select one, the last of them counts.
    ///
    /// # Errors
    /// [`TrainError::Selection`] for a pattern that matches no path.
    pub fn form_groups<S: AsRef<str>>(&mut self, paths: &[S]) -> Result<(), TrainError> {
        self.groups.clear();
        for (number, group) in self.config.groups.iter().enumerate() {
            let selected = group.paths.resolve(paths).map_err(|source| {
                TrainError::selection(format!("optimizer.groups.{number}.paths"), source)
            })?;
            let members = selected.into_iter().map(|path| (path, number));
            self.groups.extend(members);
        }
        Ok(())
    }

    /// The rule of the parameter at `path`, and its part of the state.
    fn rule_and_state<'a>(&'a mut self, path: &'a str, rank: usize) -> (Rule<'a>, ParamState<'a>) {
        let config = &self.config;
        let group = self.groups.get(path).map(|at| &config.groups[*at]);
        let state = ParamState {
            path,
            config,
            state: &mut self.state,
        };
        (Rule::of(config, path, rank).in_group(group), state)
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
        let (rule, state) = self.rule_and_state(path, D);
        rule.update(state, weight, grad, update)
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

/// Takes the gradients of Muon's matrices and turns them into momentum.
struct Ahead<'a> {
    optimizer: &'a mut Optimizer,
    gradients: &'a mut Gradients,
    update: &'a Update,
    matrices: Vec<(String, Tensor<2>)>,
    stack: PathStack,
}

impl ModuleVisitor for Ahead<'_> {
    fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
        let path = self.stack.path();
        let (rule, state) = self.optimizer.rule_and_state(&path, D);
        if !rule.is_muon() {
            return;
        }
        let Some(grad) = self.gradients.remove::<D>(&path) else {
            return;
        };
        let ahead = rule.muon_momentum(state, grad, self.update);
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
        let grad = self.gradients.remove(&path);
        if direction.is_none() && grad.is_none() {
            return param;
        }
        // Taken apart so that the weight's buffer has one owner and can be updated in place.
        let (id, weight, mapper) = param.consume();
        let mut weight = weight.without_autodiff();
        if let Some(direction) = direction {
            let (rule, _) = self.optimizer.rule_and_state(&path, D);
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
