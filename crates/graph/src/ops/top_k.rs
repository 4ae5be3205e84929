//! `TopK`: the largest or smallest elements along an axis, in order. <https://onnx.ai/onnx/operators/onnx__TopK.html>
//!
//! Of several equal elements the gradient goes to the one that was taken. The positions, the second output, are integers and
//! have no derivative.

use super::class::output;
use super::inputs::zeros_like;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// Inputs: data, number of elements.
pub(super) struct TopK;

impl Operator for TopK {
    fn name(&self) -> &'static str {
        "TopK"
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    /// Each cotangent back to where its element was.
    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        let mut products = vec![None; wanted.len()];
        if let (Some(w), Some(true)) = (cotangents.first().and_then(Option::as_ref), wanted.first()) {
            let positions = e.forward_output(output(node)?, 1);
            let zeros = zeros_like(node.required(0)?, e)?;
            let axis = node.int("axis", -1)?;
            // An element is taken once, so that there is nothing to add.
            products[0] = Some(e.op_with("ScatterElements", &[&zeros, &positions, w], [("axis", axis.into())]));
        }
        Ok(products)
    }
}
