//! Names and identities of parameters: the path through the modules, and the id made of it.

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;
use sinterlm_config::stable_hash;

/// The identity of the parameter at `path`: a 64-bit hash of it, the same in every process.
///
/// burn's own ids are random, so that a state keyed by them would fit one process only.
pub fn param_id(path: &str) -> ParamId {
    ParamId::from(stable_hash(path.as_bytes()))
}

/// The path of the parameter at hand, for use inside burn's visitors and mappers.
///
/// Forward `enter_module` and `exit_module` to [`enter`](Self::enter) and [`exit`](Self::exit);
/// [`path`](Self::path) then gives for example `blocks.3.attn.q.weight`.
#[derive(Clone, Debug, Default)]
pub struct PathStack(Vec<String>);

impl PathStack {
    /// Steps into the module or parameter called `name`.
    pub fn enter(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    /// Steps out again.
    pub fn exit(&mut self) {
        self.0.pop();
    }

    /// The dotted path.
    pub fn path(&self) -> String {
        self.0.join(".")
    }
}

/// A parameter's path, shape and values on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedValues {
    /// For example `blocks.3.attn.q.weight`.
    pub path: String,
    /// Shape; matrices are `[d_out, d_in]`.
    pub shape: Vec<usize>,
    /// Row-major, f32.
    pub values: Vec<f32>,
}

/// Reads all float parameters of a module, in the order of its fields.
pub fn named_values<M: Module>(module: &M) -> Vec<NamedValues> {
    let mut collect = Collect::default();
    module.visit(&mut collect);
    collect.values
}

#[derive(Default)]
struct Collect {
    stack: PathStack,
    values: Vec<NamedValues>,
}

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val().without_autodiff();
        let shape = tensor.dims().to_vec();
        let values = tensor
            .into_data()
            .convert::<f32>()
            .try_into_vec()
            .expect("just converted to f32");
        self.values.push(NamedValues {
            path: self.stack.path(),
            shape,
            values,
        });
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.stack.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.stack.exit();
    }
}
