//! `GatherElements`: one chosen element for each position. <https://onnx.ai/onnx/operators/onnx__GatherElements.html>

use super::inputs::zeros_like;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// Inputs: data, indices.
#[derive(Debug)]
pub(super) struct GatherElements;

impl Operator for GatherElements {
    fn name(&self) -> &'static str {
        "GatherElements"
    }

    fn class(&self) -> Class {
        Class::ShapeOnly
    }

    fn transpose(&self, node: &Node, _: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let zeros = zeros_like(node.required(0)?, e)?;
        let axis = node.int("axis", 0)?;
        Ok(e.op_with(
            "ScatterElements",
            &[&zeros, node.required(1)?, y],
            [("axis", axis.into()), ("reduction", "add".into())],
        ))
    }
}
