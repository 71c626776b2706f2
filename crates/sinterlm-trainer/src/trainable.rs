//! The parameters that a run trains, by path: everything else has no gradient, no moments, no average
//! and is never read for them.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use sinterlm_model::{PathStack, Selection, is_trainable};

use crate::error::TrainError;

/// Paths of the trained parameters, with how many values each holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trainable(BTreeMap<String, u64>);

impl Trainable {
    /// The parameters of a module that require a gradient.
    #[cfg(test)]
    pub(crate) fn of<M: Module>(model: &M) -> Self {
        let mut paths = Paths::default();
        model.visit(&mut paths);
        Self(paths.trainable.into_iter().collect())
    }

    /// Freezes what a config leaves out, and gives the rest. What is frozen already stays so.
    pub(crate) fn select<M: Module>(
        model: M,
        train_only: &Selection,
        freeze: &Selection,
    ) -> Result<(M, Self), TrainError> {
        let mut paths = Paths::default();
        model.visit(&mut paths);
        let resolve = |key: &str, selection: &Selection| {
            let resolved = selection.resolve(&paths.all);
            resolved.map_err(|source| TrainError::selection(key, source))
        };
        let mut chosen: BTreeMap<String, u64> = paths.trainable.iter().cloned().collect();
        if !train_only.is_empty() {
            let only = resolve("trainer.train_only", train_only)?;
            chosen.retain(|path, _| only.contains(path));
        }
        let frozen = resolve("trainer.freeze", freeze)?;
        chosen.retain(|path, _| !frozen.contains(path));
        if chosen.is_empty() {
            return Err(TrainError::NothingToTrain);
        }
        let trainable = Self(chosen);
        let model = if trainable.0.len() < paths.trainable.len() {
            model.map(&mut Freeze {
                trainable: &trainable,
                stack: PathStack::default(),
            })
        } else {
            model
        };
        Ok((model, trainable))
    }

    /// Whether the parameter at `path` is trained.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// Identity of the set of paths, for a run that is resumed.
    pub(crate) fn fingerprint(&self) -> String {
        let paths: Vec<&str> = self.0.keys().map(String::as_str).collect();
        format!(
            "{:016x}",
            sinterlm_config::stable_hash(paths.join("\n").as_bytes())
        )
    }

    /// Values of all of them.
    pub(crate) fn values(&self) -> u64 {
        self.0.values().sum()
    }
}

/// The paths of all float parameters of a module.
pub(crate) fn all_paths<M: Module>(model: &M) -> Vec<String> {
    let mut paths = Paths::default();
    model.visit(&mut paths);
    paths.all
}

#[derive(Default)]
struct Paths {
    all: Vec<String>,
    trainable: Vec<(String, u64)>,
    stack: PathStack,
}

impl ModuleVisitor for Paths {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.stack.path();
        if is_trainable(param) {
            let values = param.lazy_shape().num_elements() as u64;
            self.trainable.push((path.clone(), values));
        }
        self.all.push(path);
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.stack.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.stack.exit();
    }
}

struct Freeze<'a> {
    trainable: &'a Trainable,
    stack: PathStack,
}

impl ModuleMapper for Freeze<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.trainable.has(&self.stack.path()) {
            param
        } else {
            param.set_require_grad(false)
        }
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.stack.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.stack.exit();
    }
}
