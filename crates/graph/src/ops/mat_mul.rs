//! The matrix product over the last two dimensions, the others broadcast. A vector counts as a row on the left and as a
//! column on the right.

use super::class::output;
use super::{Class, Operator};
use crate::{Cause, Dim, Emit, Node, Rule, Value};

/// The operator `MatMul`.
pub(super) struct MatMul;

impl Operator for MatMul {
    fn name(&self) -> &'static str {
        "MatMul"
    }

    fn class(&self) -> Class {
        Class::Bilinear
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let (a, b) = (node.required(0)?, node.required(1)?);
        let (a_dims, b_dims) = (e.dims(a)?, e.dims(b)?);
        let (Some(&inner), false) = (a_dims.last(), b_dims.is_empty()) else {
            return Err(Cause::Malformed("a scalar operand".into()));
        };
        // Everything as matrices: `y` is [.., rows, columns], and so is the product.
        let y_dims = e.dims(output(node)?)?;
        let (batch, rows, columns) = split(y_dims, a_dims.len() == 1, b_dims.len() == 1);
        let y = match (a_dims.len(), b_dims.len()) {
            (1, 1) => unsqueeze(y, &[0, 1], e),
            (1, _) => unsqueeze(y, &[-2], e),
            (_, 1) => unsqueeze(y, &[-1], e),
            _ => y.clone(),
        };
        let (product, dims) = if input == 0 {
            let b = if b_dims.len() == 1 { unsqueeze(b, &[0], e) } else { transposed(b, b_dims.len(), e) };
            (e.op("MatMul", &[&y, &b]), [rows, inner])
        } else {
            let a = if a_dims.len() == 1 { unsqueeze(a, &[1], e) } else { transposed(a, a_dims.len(), e) };
            (e.op("MatMul", &[&a, &y]), [inner, columns])
        };
        let from: Vec<Dim> = batch.iter().copied().chain(dims).collect();
        if input == 1 && b_dims.len() == 1 {
            // A column without its last dimension.
            let summed = e.sum_to(&product, &from, &[inner, Dim::Fixed(1)])?;
            return e.reshape(&summed, b_dims);
        }
        e.sum_to(&product, &from, if input == 0 { a_dims } else { b_dims })
    }
}

/// Batch dimensions, rows and columns of a product of shape `dims`, where a vector operand has left out its dimension.
fn split(dims: &[Dim], no_row: bool, no_column: bool) -> (&[Dim], Dim, Dim) {
    let mut batch = dims;
    let mut pop = |absent: bool| match batch.split_last() {
        Some((&last, rest)) if !absent => {
            batch = rest;
            last
        }
        _ => Dim::Fixed(1),
    };
    let columns = pop(no_column);
    let rows = pop(no_row);
    (batch, rows, columns)
}

fn unsqueeze(value: &Value, axes: &[i64], e: &mut Emit<'_>) -> Value {
    let axes = e.ints(axes);
    e.op("Unsqueeze", &[value, &axes])
}

/// `value`, of rank `rank`, with its last two dimensions swapped.
fn transposed(value: &Value, rank: usize, e: &mut Emit<'_>) -> Value {
    let mut order: Vec<i64> = (0..).take(rank).collect();
    order.swap(rank - 1, rank - 2);
    e.op_with("Transpose", &[value], [("perm", order.into())])
}
