//! Gradients by parameter path: taken from the tape, summed over micro-batches, measured.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::container::TensorContainer;
use burn::tensor::{Gradients as Tape, Tensor};
use sinterlm_kernels as kernels;
use sinterlm_model::{PathStack, TensorSummary};

use crate::trainable::Trainable;

/// The gradients of one step, by path: burn's ids are hashes of the path at which a module was built,
/// so that two modules inside another one may share them.
#[derive(Debug, Default)]
pub(crate) struct Gradients {
    container: TensorContainer<String>,
}

impl Gradients {
    /// Adds what the tape holds for the model's trained parameters.
    pub(crate) fn accumulate<M: Module>(
        &mut self,
        model: &M,
        trainable: &Trainable,
        tape: &mut Tape,
    ) {
        model.visit(&mut Accumulate {
            gradients: self,
            trainable,
            tape,
            stack: PathStack::default(),
        });
    }

    /// One parameter's gradient.
    pub(crate) fn get<const D: usize>(&self, path: &str) -> Option<Tensor<D>> {
        self.container.get(&path.to_owned())
    }

    /// Each gradient in a few figures, by parameter.
    pub(crate) fn summaries<M: Module>(&self, model: &M) -> Vec<TensorSummary> {
        summaries(model, Some(self))
    }

    /// Puts one parameter's gradient in place.
    #[cfg(test)]
    pub(crate) fn register<const D: usize>(&mut self, path: &str, gradient: Tensor<D>) {
        self.container.register(path.to_owned(), gradient);
    }

    /// Takes one parameter's gradient out.
    pub(crate) fn remove<const D: usize>(&mut self, path: &str) -> Option<Tensor<D>> {
        self.container.remove(&path.to_owned())
    }

    /// Euclidean norm of all gradients together, and the last parameter whose part is not finite: the
    /// backward pass came to it first.
    pub(crate) fn norm<M: Module>(&self, model: &M) -> (f64, Option<String>) {
        let mut norm = Norm {
            gradients: self,
            squares: 0.0,
            broken: None,
            stack: PathStack::default(),
        };
        model.visit(&mut norm);
        (norm.squares.sqrt(), norm.broken)
    }
}

/// Each parameter in a few figures.
pub(crate) fn weight_summaries<M: Module>(model: &M) -> Vec<TensorSummary> {
    summaries(model, None)
}

fn summaries<M: Module>(model: &M, gradients: Option<&Gradients>) -> Vec<TensorSummary> {
    let mut summarise = Summarise {
        gradients,
        found: Vec::new(),
        stack: PathStack::default(),
    };
    model.visit(&mut summarise);
    summarise.found
}

/// Of gradients, or of the parameters themselves.
struct Summarise<'a> {
    gradients: Option<&'a Gradients>,
    found: Vec<TensorSummary>,
    stack: PathStack,
}

impl ModuleVisitor for Summarise<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.stack.path();
        let tensor = match self.gradients {
            Some(gradients) => gradients.get::<D>(&path),
            // A packed weight is as its file has it, and not worth unpacking.
            None => param.is_initialized().then(|| param.val()),
        };
        let summary = tensor.map(|tensor| TensorSummary {
            rows: Vec::new(), // of a batch, which a parameter has none of
            ..TensorSummary::of(&path, tensor)
        });
        self.found.extend(summary);
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.stack.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.stack.exit();
    }
}

struct Accumulate<'a> {
    gradients: &'a mut Gradients,
    trainable: &'a Trainable,
    tape: &'a mut Tape,
    stack: PathStack,
}

impl ModuleVisitor for Accumulate<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.stack.path();
        if !self.trainable.has(&path) {
            return;
        }
        let Some(new) = param.val().grad_remove(self.tape) else {
            return;
        };
        let sum = match self.gradients.container.remove::<Tensor<D>>(&path) {
            Some(sum) => kernels::add_in_place(sum, new),
            None => new,
        };
        self.gradients.container.register(path, sum);
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.stack.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.stack.exit();
    }
}

struct Norm<'a> {
    gradients: &'a Gradients,
    squares: f64,
    broken: Option<String>,
    stack: PathStack,
}

impl ModuleVisitor for Norm<'_> {
    fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
        let path = self.stack.path();
        let Some(grad) = self.gradients.get::<D>(&path) else {
            return;
        };
        let squares = kernels::sum_of_squares(grad);
        if !squares.is_finite() {
            self.broken = Some(path);
        }
        self.squares += squares;
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.stack.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.stack.exit();
    }
}
