//! `Gather`: chosen elements along an axis. <https://onnx.ai/onnx/operators/onnx__Gather.html>

use super::inputs::{axis, int, product, size, zeros_like};
use super::select::transpose_selection;
use super::{Class, Operator};
use crate::{Cause, Dim, Emit, Node, Rule, Tensor, Value};

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
        let (x, indices) = (node.required(0)?, node.required(1)?);
        let x_dims = e.dims(x)?;
        let at = axis(node.int("axis", 0)?, x_dims.len())?;
        // The axes of the indices as one, whatever their number.
        let count = product(e.dims(indices)?)?;
        let mut dims = x_dims.to_vec();
        dims[at] = count;
        let y = if e.dims(indices)?.len() == 1 { y.clone() } else { e.reshape(y, &dims)? };
        let Some(constant) = e.constant(indices).and_then(Tensor::to_i64) else {
            return scattered(node, &y, &dims, at, e);
        };
        let input = size(x_dims, at)?;
        let reads: Vec<usize> =
            constant.iter().map(|&i| axis(i, input)).collect::<Rule<_>>().map_err(|_| {
                Cause::Malformed(format!("indices must lie in -{input}..{input}, these are {constant:?}"))
            })?;
        transpose_selection(&y, &dims, at, &reads, input, e)
    }
}

/// `y`, of shape `dims`, added up where computed indices say, along the axis `at`.
fn scattered(node: &Node, y: &Value, dims: &[Dim], at: usize, e: &mut Emit<'_>) -> Rule<Value> {
    let zeros = zeros_like(node.required(0)?, e)?;
    let along: Vec<Dim> = (0..dims.len()).map(|a| if a == at { dims[at] } else { Dim::Fixed(1) }).collect();
    let indices = e.reshape(node.required(1)?, &along)?;
    let shape = e.op("Shape", &[y]);
    let indices = e.op("Expand", &[&indices, &shape]);
    Ok(e.op_with("ScatterElements", &[&zeros, &indices, y], [("axis", int(at).into()), ("reduction", "add".into())]))
}
