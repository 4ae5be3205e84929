//! `Expand`: a tensor broadcast to a shape. <https://onnx.ai/onnx/operators/onnx__Expand.html>

use super::class::output;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// Inputs: data, shape.
#[derive(Debug)]
pub(super) struct Expand;

impl Operator for Expand {
    fn name(&self) -> &'static str {
        "Expand"
    }

    fn class(&self) -> Class {
        Class::ShapeOnly
    }

    /// The sum over the copies.
    fn transpose(&self, node: &Node, _: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let output = output(node)?;
        let (from, to) = (e.dims(output)?, e.dims(node.required(0)?)?);
        e.sum_to(y, from, to)
    }
}
