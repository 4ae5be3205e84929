//! Operators of our own, for what ONNX Runtime has no fast kernels for: convolutions in training, and the gradients of it.
//!
//! They are in the domain [`KERNELS`], and only graphs that were derived for
//! [`Lowering::CpuKernels`](assay_graph::Lowering::CpuKernels) have them. Each is computed in the same order however many
//! threads there are, so that a step of training gives the same bits on any number of them.
//!
//! A convolution and its two gradients are products of matrices with one side shifted from tap to tap. Their maps are laid out with
//! sixteen channels side by side, a few samples at a time ([`blocked`]), and read from there by one inner loop ([`tile`]); nothing is
//! copied for each tap.

mod batch_norm;
mod blocked;
mod conv;
mod conv_input_gradient;
mod conv_weight_gradient;
mod depthwise;
mod sweep;
// The registers of a processor are reached through its intrinsics.
#[allow(unsafe_code)]
mod tile;
mod windows;

use assay_graph::{KERNELS, Model};
use ort::operator::{ComputeContext, OperatorDomain};

/// The operators, if `model` has any of them.
pub(crate) fn for_model(model: &Model) -> ort::Result<Option<OperatorDomain>> {
    if !model.opsets.contains_key(KERNELS) {
        return Ok(None);
    }
    let domain = OperatorDomain::new(KERNELS)?;
    let domain = domain.add(conv::Conv)?.add(conv_input_gradient::ConvInputGradient)?;
    domain.add(conv_weight_gradient::ConvWeightGradient)?.add(batch_norm::BatchNormalizationGradient).map(Some)
}

/// Does the tasks `0..count`, in any order, on the threads of a session.
type Parallel<'a> = dyn Fn(usize, &(dyn Fn(usize) + Sync)) -> ort::Result<()> + 'a;

fn parallel(ctx: &ComputeContext) -> impl Fn(usize, &(dyn Fn(usize) + Sync)) -> ort::Result<()> {
    |count, task| ctx.par_for(count, 0, task)
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

fn dims<const N: usize>(sizes: [usize; N]) -> [i64; N] {
    sizes.map(|size| size as i64)
}

fn no_output() -> ort::Error {
    ort::Error::new("the output is missing")
}
