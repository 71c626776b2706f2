//! Where a new parameter's values come from: the initialisers, drawn on the host by path.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use sinterlm_config::{KeyRng, Seed, Stream, stable_hash};
use sinterlm_kernels::PackedMatrix;

use crate::params::param_id;
use crate::weight::{PackedWeight, Weight};

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Independent normal draws with mean 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// All zero.
    Zeros,
    /// All one.
    Ones,
}

/// A parameter that a model is about to make.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Path through the modules, for example `blocks.0.attn.q.weight`.
    pub path: String,
    /// Shape; matrices are `[d_out, d_in]`.
    pub shape: Vec<usize>,
    /// How it starts when it isn't loaded.
    pub init: Init,
}

impl ParamSpec {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the parameter holds no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The initial values, row-major: a function of the seed and the path alone, so that neither
    /// the order of construction nor the backend matters.
    pub fn draw(&self, seed: Seed) -> Vec<f32> {
        match self.init {
            Init::Zeros => vec![0.0; self.len()],
            Init::Ones => vec![1.0; self.len()],
            Init::Normal { std } => {
                let site = stable_hash(self.path.as_bytes());
                let mut rng = KeyRng::new(seed.key(Stream::Init, 0, 0, site));
                (0..self.len())
                    .map(|_| (f64::from(rng.normal()) * std) as f32)
                    .collect()
            }
        }
    }
}

/// The values of a parameter.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one at a time")]
pub(crate) enum Values {
    /// Of the parameter's shape, f32.
    Numbers(TensorData),
    /// Of its shape too, on the model's device.
    Packed(PackedMatrix),
}

/// Makes parameters from a source of values, either drawn or loaded.
pub(crate) struct Maker<'a, E> {
    pub(crate) device: &'a Device,
    pub(crate) values: &'a mut dyn FnMut(&ParamSpec) -> Result<Values, E>,
}

impl<E> Maker<'_, E> {
    pub(crate) fn param<const D: usize>(
        &mut self,
        path: String,
        shape: [usize; D],
        init: Init,
    ) -> Result<Param<Tensor<D>>, E> {
        let spec = ParamSpec {
            path,
            shape: shape.to_vec(),
            init,
        };
        let tensor = match (self.values)(&spec)? {
            Values::Numbers(numbers) => Tensor::from_data(numbers, self.device),
            Values::Packed(matrix) => matrix.unpack().reshape(shape),
        };
        Ok(Param::initialized(param_id(&spec.path), tensor).set_require_grad(true))
    }

    /// A matrix, which may stay packed.
    pub(crate) fn weight(
        &mut self,
        path: String,
        shape: [usize; 2],
        init: Init,
    ) -> Result<Weight, E> {
        let id = param_id(&path);
        let spec = ParamSpec {
            path,
            shape: shape.to_vec(),
            init,
        };
        Ok(match (self.values)(&spec)? {
            Values::Numbers(numbers) => {
                let numbers = Tensor::from_data(numbers, self.device);
                Weight::Dense(Param::initialized(id, numbers).set_require_grad(true))
            }
            Values::Packed(matrix) => Weight::Packed(PackedWeight { id, matrix }),
        })
    }
}
