//! A weight matrix in either of its two forms: numbers to train, or packed as a model file holds it.

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
    Param, ParamId,
};
use burn::tensor::{Device, Tensor};
use sinterlm_kernels::{MatmulPrecision, PackedMatrix, linear, packed_linear};

/// A matrix `[d_out, d_in]`.
///
/// A packed one is frozen and stays packed: mappers, `train` and optimizers pass it by, and its product
/// has a gradient for the input alone. burn's visitors see it as a frozen parameter that is not
/// initialised yet, whose numbers they get as f32 if they ask for them, so that saving and comparing
/// need nothing special. A visitor that wants trainable parameters asks `is_initialized` first.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "a model has some hundred")]
pub enum Weight {
    /// Numbers, trainable.
    Dense(Param<Tensor<2>>),
    /// As a model file holds it.
    Packed(PackedWeight),
}

/// A packed matrix and which parameter it is.
#[derive(Clone, Debug)]
pub struct PackedWeight {
    pub(crate) id: ParamId,
    pub(crate) matrix: PackedMatrix,
}

impl PackedWeight {
    /// What a visitor sees: unpacked where it reads the numbers, not where it reads the shape.
    fn unpacked_if_read(&self) -> Param<Tensor<2>> {
        let (matrix, device) = (self.matrix.clone(), self.matrix.device());
        let shape = matrix.shape().into();
        Param::uninitialized(self.id, move |_, _| matrix.unpack(), device, false, shape)
    }
}

impl Weight {
    /// `[d_out, d_in]`.
    pub fn dims(&self) -> [usize; 2] {
        match self {
            Self::Dense(numbers) => numbers.lazy_shape().dims(),
            Self::Packed(packed) => packed.matrix.shape(),
        }
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        match self {
            Self::Dense(numbers) => numbers.lazy_device(),
            Self::Packed(packed) => packed.matrix.device(),
        }
    }

    /// The matrix as it is packed, if it is.
    pub fn packed(&self) -> Option<&PackedMatrix> {
        match self {
            Self::Dense(_) => None,
            Self::Packed(packed) => Some(&packed.matrix),
        }
    }

    /// The numbers, f32. A packed matrix is unpacked by every call.
    pub fn val(&self) -> Tensor<2> {
        match self {
            Self::Dense(numbers) => numbers.val(),
            Self::Packed(packed) => packed.matrix.unpack(),
        }
    }

    /// `y = x Wᵀ + b` over the last axis of `x`, `[.., d_in]` to `[.., d_out]`.
    ///
    /// A packed matrix multiplies in f32 whatever the precision.
    pub fn product<const D: usize>(
        &self,
        x: Tensor<D>,
        bias: Option<Tensor<1>>,
        precision: MatmulPrecision,
    ) -> Tensor<D> {
        match self {
            Self::Dense(numbers) => linear(x, numbers.val(), bias, precision),
            Self::Packed(packed) => packed_linear(x, &packed.matrix, bias),
        }
    }
}

impl Module for Weight {
    fn collect_devices(&self, mut devices: Devices) -> Devices {
        let device = self.device();
        if !devices.contains(&device) {
            devices.push(device);
        }
        devices
    }

    fn fork(self, device: &Device) -> Self {
        match self {
            Self::Dense(numbers) => Self::Dense(numbers.fork(device)),
            packed @ Self::Packed(_) => packed.to_device(device),
        }
    }

    fn to_device(self, device: &Device) -> Self {
        match self {
            Self::Dense(numbers) => Self::Dense(numbers.to_device(device)),
            Self::Packed(PackedWeight { id, matrix }) => Self::Packed(PackedWeight {
                id,
                matrix: matrix.to_device(device),
            }),
        }
    }

    fn train(self) -> Self {
        match self {
            Self::Dense(numbers) => Self::Dense(numbers.train()),
            packed @ Self::Packed(_) => packed,
        }
    }

    fn valid(&self) -> Self {
        match self {
            Self::Dense(numbers) => Self::Dense(numbers.valid()),
            Self::Packed(packed) => Self::Packed(packed.clone()),
        }
    }

    fn materialize(self) -> Self {
        match self {
            Self::Dense(numbers) => Self::Dense(numbers.materialize()),
            packed @ Self::Packed(_) => packed,
        }
    }

    fn num_params(&self) -> usize {
        self.dims().iter().product()
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        match self {
            Self::Dense(numbers) => numbers.visit(visitor),
            Self::Packed(packed) => packed.unpacked_if_read().visit(visitor),
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        match self {
            Self::Dense(numbers) => Self::Dense(Module::map(numbers, mapper)),
            packed @ Self::Packed(_) => packed,
        }
    }
}

impl ModuleDisplayDefault for Weight {
    fn content(&self, content: Content) -> Option<Content> {
        match self {
            Self::Dense(numbers) => numbers.content(content),
            Self::Packed(packed) => {
                let (format, shape) = (packed.matrix.format(), packed.matrix.shape());
                let text = format!("Packed {{format: {format:?}, shape: {shape:?}}}");
                content.add_formatted(&text).optional()
            }
        }
    }
}

impl ModuleDisplay for Weight {}
