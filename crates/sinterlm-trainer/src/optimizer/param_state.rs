//! One parameter's part of an optimizer's state.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use sinterlm_kernels::{Moment, MomentKind};

use super::config::OptimizerConfig;

/// One parameter's part of the optimizer's state.
pub(super) struct ParamState<'a> {
    pub(super) path: &'a str,
    pub(super) config: &'a OptimizerConfig,
    pub(super) state: &'a mut BTreeMap<String, Moment>,
}

impl ParamState<'_> {
    /// Takes a moment of a parameter like this out, or zeros on the first step.
    pub(super) fn take<const D: usize>(&mut self, name: &str, like: &Tensor<D>) -> Moment {
        let found = self.state.remove(&format!("{}.{name}", self.path));
        found.unwrap_or_else(|| {
            let len = like.dims().iter().product();
            Moment::zeros(len, kind_of(name), self.config.format(len), &like.device())
        })
    }

    /// Puts it back.
    pub(super) fn put(&mut self, name: &str, moment: Moment) {
        self.state.insert(format!("{}.{name}", self.path), moment);
    }

    /// [`take`](Self::take) as a tensor.
    pub(super) fn take_values<const D: usize>(
        &mut self,
        name: &str,
        like: &Tensor<D>,
    ) -> Tensor<D> {
        self.take(name, like).into_values().reshape(like.dims())
    }

    /// [`put`](Self::put) of a tensor.
    pub(super) fn put_values<const D: usize>(&mut self, name: &str, values: Tensor<D>) {
        let len = values.dims().iter().product::<usize>();
        let format = self.config.format(len);
        self.put(
            name,
            Moment::new(values.reshape([len]), kind_of(name), format),
        );
    }
}

/// Second moments are called `v`, as the last part of a path or alone.
pub(super) fn kind_of(name: &str) -> MomentKind {
    match name.rsplit('.').next() {
        Some("v") => MomentKind::Second,
        _ => MomentKind::First,
    }
}
