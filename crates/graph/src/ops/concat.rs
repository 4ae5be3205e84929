//! `Concat`: tensors one after the other along an axis. <https://onnx.ai/onnx/operators/onnx__Concat.html>

use super::inputs::{axis, int, size};
use super::{Class, Operator};
use crate::{Attribute, Cause, Emit, Node, Rule, Value};

#[derive(Debug)]
pub(super) struct Concat;

impl Operator for Concat {
    fn name(&self) -> &'static str {
        "Concat"
    }

    fn class(&self) -> Class {
        Class::ShapeOnly
    }

    fn refused(&self) -> &'static str {
        "along the batch"
    }

    /// The input's part of the output.
    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let stated = match node.attributes.get("axis") {
            Some(Attribute::Int(axis)) => *axis,
            _ => return Err(Cause::Malformed("attribute \"axis\" must be an integer".into())),
        };
        let axis = axis(stated, e.dims(node.required(0)?)?.len())?;
        if node.inputs.len() == 1 {
            return Ok(y.clone());
        }
        let mut start = 0;
        for before in 0..input {
            start += size(e.dims(node.required(before)?)?, axis)?;
        }
        let end = start + size(e.dims(node.required(input)?)?, axis)?;
        let [start, end, axis] = [start, end, axis].map(|i| e.ints(&[int(i)]));
        Ok(e.op("Slice", &[y, &start, &end, &axis]))
    }
}
