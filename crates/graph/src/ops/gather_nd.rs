//! `GatherND`: slices read where tuples of indices say. <https://onnx.ai/onnx/operators/onnx__GatherND.html>

use super::class::output;
use super::inputs::{int, product, size, zeros_like};
use super::{Class, Operator};
use crate::{Cause, Dim, Emit, Node, Rule, Value};

/// Inputs: data, indices.
pub(super) struct GatherNd;

impl Operator for GatherNd {
    fn name(&self) -> &'static str {
        "GatherND"
    }

    fn class(&self) -> Class {
        Class::ShapeOnly
    }

    /// The sum of what was read, where it was read.
    fn transpose(&self, node: &Node, _: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let (x, indices) = (node.required(0)?, node.required(1)?);
        let batch = node.int("batch_dims", 0)?;
        let zeros = zeros_like(x, e)?;
        if batch == 0 {
            return Ok(e.op_with("ScatterND", &[&zeros, indices, y], [("reduction", "add".into())]));
        }
        batched(node, usize::try_from(batch).unwrap_or(usize::MAX), &zeros, y, e)
    }
}

/// With batch dimensions, which `ScatterND` has not got: the tuples as positions in a matrix for each of them.
fn batched(node: &Node, batch: usize, zeros: &Value, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
    let (x, indices) = (node.required(0)?, node.required(1)?);
    let (x_dims, i_dims, y_dims) = (e.dims(x)?, e.dims(indices)?, e.dims(output(node)?)?);
    let depth = i_dims.len().checked_sub(1).and_then(|last| size(i_dims, last).ok()).unwrap_or(0);
    if batch >= i_dims.len() || batch + depth > x_dims.len() {
        return Err(Cause::Malformed(format!(
            "{batch} batch dimensions and tuples of {depth} indices into a tensor of {} dimensions",
            x_dims.len()
        )));
    }
    let sizes = e.fixed(x, batch)?;
    let (indexed, slice) = sizes.split_at(depth);
    let lead = product(&x_dims[..batch])?;
    let reads = product(&y_dims[batch..i_dims.len() - 1])?;

    // A negative index counts from the end; `Mod` has the sign of its divisor.
    let by: Vec<i64> = indexed.iter().map(|&s| int(s)).collect();
    let strides: Vec<i64> = (0..depth).map(|k| int(indexed[k + 1..].iter().product())).collect();
    let (by, strides, last) = (e.ints(&by), e.ints(&strides), e.ints(&[-1]));
    let positive = e.op("Mod", &[indices, &by]);
    let terms = e.op("Mul", &[&positive, &strides]);
    let position = e.op_with("ReduceSum", &[&terms, &last], [("keepdims", 0.into())]);
    let position = e.reshape(&position, &[lead, reads, Dim::Fixed(1)])?;

    let (rows, columns) = (indexed.iter().product(), slice.iter().product());
    let y = e.reshape(y, &[lead, reads, Dim::Fixed(columns)])?;
    let shape = e.op("Shape", &[&y]);
    let position = e.op("Expand", &[&position, &shape]);
    let zeros = e.reshape(zeros, &[lead, Dim::Fixed(rows), Dim::Fixed(columns)])?;
    let sums =
        e.op_with("ScatterElements", &[&zeros, &position, &y], [("axis", 1.into()), ("reduction", "add".into())]);
    e.reshape(&sums, x_dims)
}
