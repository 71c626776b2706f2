//! The way between tensors on flex and the memory that native kernels read and write.
#![allow(unsafe_code)] // new buffers are written once, not zeroed first

use std::mem::MaybeUninit;

use burn::{
    backend::{Flex, TensorMetadata, flex::FlexTensor},
    tensor::{DType, Tensor, TensorData},
};

use crate::product::Matrix;

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
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// `tensor` with its last axis contiguous: itself, or a copy.
pub(crate) fn rows_contiguous(tensor: FlexTensor) -> FlexTensor {
    debug_assert_eq!(tensor.dtype(), DType::F32, "native kernels compute in f32");
    if tensor.layout().strides().last() == Some(&1)
        && tensor.layout().strides().iter().all(|&s| s >= 0)
    {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// A two-dimensional f32 tensor with non-negative strides as a matrix; `None` where it is empty.
pub(crate) fn matrix(tensor: &FlexTensor) -> Option<Matrix<'_>> {
    let layout = tensor.layout();
    let size = [layout.shape()[0], layout.shape()[1]];
    let stride = [layout.strides()[0] as usize, layout.strides()[1] as usize];
    let values = tensor.storage::<f32>().get(layout.start_offset()..)?;
    (size[0] > 0 && size[1] > 0).then(|| Matrix::strided(values, size, stride))
}

/// `tensor` contiguous and filling its buffer, so that `storage_mut` is its elements: in place
/// where no other handle shares them, a copy otherwise.
pub(crate) fn for_writing(tensor: FlexTensor) -> FlexTensor {
    let elements = tensor.layout().num_elements();
    if tensor.is_contiguous() && tensor.storage::<f32>().len() == elements {
        tensor
    } else {
        let copy = tensor.as_slice::<f32>().map(<[f32]>::to_vec);
        match copy {
            Some(values) => FlexTensor::from_data(TensorData::new(values, tensor.shape())),
            None => tensor.to_contiguous(),
        }
    }
}

/// A new buffer of `len` elements written by `fill`. Zeroing it first would cost as much as the
/// lighter kernels do.
///
/// # Safety
/// `fill` must write every element.
pub(crate) unsafe fn filled(len: usize, fill: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    fill(&mut values.spare_capacity_mut()[..len]);
    // SAFETY: the capacity is at least `len`, and the caller has written all of it.
    unsafe { values.set_len(len) };
    values
}
