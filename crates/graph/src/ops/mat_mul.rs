//! The matrix product over the last two dimensions, the others broadcast. A vector counts as a row on the left and as a
//! column on the right.

use super::class::{output, product};
use super::{Class, Operator};
use crate::{Cause, Channels, Dependence, Dim, Emit, Node, Rule, Value};

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

    fn dependence(&self, _: &Node, data: &[bool], _: &Emit<'_>) -> Rule<Dependence> {
        Ok(product(data))
    }

    fn radius(&self, node: &Node, r: &[Option<Value>], e: &mut Emit<'_>) -> Rule<Value> {
        match r {
            [Some(r), None] => {
                let size = e.op("Abs", &[node.required(1)?]);
                Ok(e.op("MatMul", &[r, &size]))
            }
            [None, Some(r)] => {
                let size = e.op("Abs", &[node.required(0)?]);
                Ok(e.op("MatMul", &[&size, r]))
            }
            _ => Err(Cause::NoRule),
        }
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        let (a, b, y) = (node.required(0)?, node.required(1)?, output(node)?);
        let (of_a, of_b, of_y) = (c.dims(a)?.len(), c.dims(b)?.len(), c.dims(y)?.len());
        if of_a == 0 || of_b == 0 {
            return Err(Cause::Malformed("a scalar operand".into()));
        }
        let (inner_a, inner_b) = (of_a - 1, of_b.saturating_sub(2));
        c.carry(a, inner_a, b, inner_b);
        // What is left of the operands: batches, then a row of one and a column of the other, unless that is a vector.
        let has_column = usize::from(of_b > 1);
        if of_a > 1 {
            c.carry(a, of_a - 2, y, of_y - 1 - has_column);
            c.makes(node, 0, of_a - 2);
        }
        if of_b > 1 {
            c.carry(b, of_b - 1, y, of_y - 1);
            c.makes(node, 1, of_b - 1);
        }
        let batches = of_y - has_column - usize::from(of_a > 1);
        for (operand, rank) in [(a, of_a), (b, of_b)] {
            let own = rank.saturating_sub(2);
            for axis in 0..own {
                c.carry(operand, axis, y, batches - own + axis);
            }
        }
        c.sums_products(node, [inner_a, inner_b]);
        Ok(())
    }

    fn uniform(&self, _: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        inputs.contains(&Some(0.0)).then_some(0.0)
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

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn transposes_the_other() {
        let text = vjp_text("MatMul", "a[n,5,3] b[3,4] -> y[n,5,4]", &[]);
        assert_snapshot!(text, @"
        Transpose.0 = Transpose(b) perm=[1, 0]
        MatMul.1 = MatMul(w, Transpose.0)
        Transpose.2 = Transpose(a) perm=[0, 2, 1]
        MatMul.3 = MatMul(Transpose.2, w)
        ReduceSum.4 = ReduceSum(MatMul.3, [0]) keepdims=1
        Reshape.5 = Reshape(ReduceSum.4, [3, 4]) allowzero=0
        a' = MatMul.1
        b' = Reshape.5
        ");
    }

    #[test]
    fn treats_vectors_as_row_and_column() {
        let text = vjp_text("MatMul", "a[3] b[3] -> y[]", &[]);
        assert_snapshot!(text, @"
        Unsqueeze.0 = Unsqueeze(w, [0, 1])
        Unsqueeze.1 = Unsqueeze(b, [0])
        MatMul.2 = MatMul(Unsqueeze.0, Unsqueeze.1)
        ReduceSum.3 = ReduceSum(MatMul.2, [0]) keepdims=1
        Reshape.4 = Reshape(ReduceSum.3, [3]) allowzero=0
        Unsqueeze.5 = Unsqueeze(w, [0, 1])
        Unsqueeze.6 = Unsqueeze(a, [1])
        MatMul.7 = MatMul(Unsqueeze.6, Unsqueeze.5)
        Reshape.8 = Reshape(MatMul.7, [3]) allowzero=0
        a' = Reshape.4
        b' = Reshape.8
        ");
    }
}
