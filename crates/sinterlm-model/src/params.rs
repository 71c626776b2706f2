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

/// Whether a parameter is trained: it requires a gradient. Packed weights, which a visitor sees as
/// parameters that are not initialised yet, are not read for it.
pub fn is_trainable<const D: usize>(param: &Param<Tensor<D>>) -> bool {
    param.is_initialized() && param.is_require_grad()
}

/// Whether any parameter of a module is trained.
pub(crate) fn has_trainable<M: Module>(module: &M) -> bool {
    struct Any(bool);

    impl ModuleVisitor for Any {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 |= is_trainable(param);
        }
    }

    let mut any = Any(false);
    module.visit(&mut any);
    any.0
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
    let all = lazy_values(module);
    all.into_iter().map(LazyValues::read).collect()
}

/// A parameter that is copied to the host when it is read, and not before.
pub(crate) struct LazyValues {
    /// As in [`NamedValues`].
    pub(crate) path: String,
    /// As in [`NamedValues`].
    pub(crate) shape: Vec<usize>,
    values: Box<dyn FnOnce() -> Vec<f32>>,
}

impl LazyValues {
    /// Copies the values.
    pub(crate) fn read(self) -> NamedValues {
        NamedValues {
            path: self.path,
            shape: self.shape,
            values: (self.values)(),
        }
    }
}

/// All float parameters of a module, in the order of its fields.
pub(crate) fn lazy_values<M: Module>(module: &M) -> Vec<LazyValues> {
    let mut collect = Collect::default();
    module.visit(&mut collect);
    collect.values
}

#[derive(Default)]
struct Collect {
    stack: PathStack,
    values: Vec<LazyValues>,
}

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let param = param.clone();
        self.values.push(LazyValues {
            path: self.stack.path(),
            shape: param.lazy_shape().dims::<D>().to_vec(),
            values: Box::new(move || on_host(param.val().without_autodiff())),
        });
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.stack.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.stack.exit();
    }
}

/// A tensor's numbers, copied in pieces: burn's copy of a whole tensor takes twice its memory.
fn on_host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    const PIECE: usize = 1 << 17;
    let (rows, len) = (tensor.dims()[0], tensor.dims().iter().product::<usize>());
    let at_once = (PIECE * rows / len.max(1)).max(1);
    let mut values = Vec::with_capacity(len);
    for start in (0..rows).step_by(at_once) {
        let piece = tensor.clone().narrow(0, start, at_once.min(rows - start));
        let piece = piece.into_data().convert::<f32>();
        values.extend_from_slice(piece.as_slice().expect("just converted to f32"));
    }
    values
}
