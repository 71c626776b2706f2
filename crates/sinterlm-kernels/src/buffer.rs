//! The way between tensors on flex and the memory that native kernels read and write.

use burn::{
    backend::{Flex, flex::FlexTensor},
    tensor::{DType, Tensor},
};

/// The buffer of a plain flex tensor, contiguous and no longer than its elements; shared with the
/// tensor's other handles, or copied where it is a view.
///
/// # Panics
/// If the tensor is not on flex or is tracked by autodiff.
pub(crate) fn whole<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    let primitive = tensor
        .try_into_primitive::<Flex>()
        .expect("the native route is taken on flex, by tensors without autodiff");
    primitive.to_contiguous()
}

/// A tensor of the buffer.
pub(crate) fn tensor<const D: usize>(buffer: FlexTensor) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(buffer)
}

/// A row-major f32 tensor that takes over `values`.
pub(crate) fn from_vec<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(burn::tensor::TensorData::new(values, shape))
}

/// `tensor` with its last axis contiguous: itself, or a copy.
pub(crate) fn rows_contiguous(tensor: FlexTensor) -> FlexTensor {
    debug_assert_eq!(tensor.dtype(), DType::F32, "native kernels compute in f32");
    if tensor.layout().strides().last() == Some(&1) && tensor.layout().strides().iter().all(|&s| s >= 0)
    {
        tensor
    } else {
        tensor.to_contiguous()
    }
}
