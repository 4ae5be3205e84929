//! Operators of our own, for what ONNX Runtime has no fast kernels for: the gradients of training.
//!
//! They are in the domain [`KERNELS`], and only graphs that were derived for
//! [`Lowering::CpuKernels`](assay_graph::Lowering::CpuKernels) have them. Each is computed in the same order however many
//! threads there are, so that a step of training gives the same bits everywhere.

mod batch_norm;
mod conv_weights;

use assay_graph::{KERNELS, Model};
use ort::operator::{ComputeContext, OperatorDomain};

/// The operators, if `model` has any of them.
pub(crate) fn for_model(model: &Model) -> ort::Result<Option<OperatorDomain>> {
    if !model.opsets.contains_key(KERNELS) {
        return Ok(None);
    }
    let domain = OperatorDomain::new(KERNELS)?;
    domain.add(conv_weights::ConvWeightGradient)?.add(batch_norm::BatchNormalizationGradient).map(Some)
}

/// Shape and numbers of input `index`.
fn input<T>(
    ctx: &ComputeContext,
    index: usize,
    read: impl FnOnce(&[usize], &[f32]) -> ort::Result<T>,
) -> ort::Result<T> {
    let value = ctx.input(index)?.ok_or_else(|| ort::Error::new(format!("input {index} is missing")))?;
    let (shape, data) = value.try_extract_tensor::<f32>()?;
    read(&crate::session::sizes(shape), data)
}
