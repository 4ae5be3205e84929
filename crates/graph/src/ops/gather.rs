//! `Gather`: chosen elements along an axis. <https://onnx.ai/onnx/operators/onnx__Gather.html>

use super::inputs::{axis, ints, size};
use super::select::transpose_selection;
use super::{Class, Operator};
use crate::{Cause, Dim, Emit, Node, Rule, Value};

/// Inputs: data, indices.
#[derive(Debug)]
pub(super) struct Gather;

impl Operator for Gather {
    fn name(&self) -> &'static str {
        "Gather"
    }

    fn class(&self) -> Class {
        Class::ShapeOnly
    }

    fn transpose(&self, node: &Node, _: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let x_dims = e.dims(node.required(0)?)?;
        let at = axis(node.int("axis", 0)?, x_dims.len())?;
        let input = size(x_dims, at)?;
        let indices =
            ints(node, 1, "indices", e)?.ok_or_else(|| Cause::Malformed("input \"indices\" is required".into()))?;
        let reads: Vec<usize> =
            indices.iter().map(|&i| axis(i, input)).collect::<Rule<_>>().map_err(|_| {
                Cause::Malformed(format!("indices must lie in -{input}..{input}, these are {indices:?}"))
            })?;
        // The axes of the indices as one, whatever their number.
        let mut dims = x_dims.to_vec();
        dims[at] = Dim::Fixed(reads.len());
        let y = if e.dims(node.required(1)?)?.len() == 1 { y.clone() } else { e.reshape(y, &dims)? };
        transpose_selection(&y, &dims, at, &reads, input, e)
    }
}
