//! `Concat`: tensors one after the other along an axis. <https://onnx.ai/onnx/operators/onnx__Concat.html>

use super::class::output;
use super::inputs::{axis, int, size};
use super::{Class, Operator};
use crate::{Attribute, Cause, Channels, Emit, Node, Rule, Value};

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
        let axis = along(node, e.dims(node.required(0)?)?.len())?;
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

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        let y = output(node)?;
        let rank = c.dims(y)?.len();
        let joined = along(node, rank)?;
        let mut start = 0;
        for x in node.inputs.iter().flatten() {
            for axis in (0..rank).filter(|&axis| axis != joined) {
                c.carry(x, axis, y, axis);
            }
            let size = c.size(x, joined)?;
            (0..size).for_each(|i| c.tie((x, joined, i), (y, joined, start + i)));
            start += size;
        }
        Ok(())
    }
}

/// The axis that the inputs follow each other along.
fn along(node: &Node, rank: usize) -> Rule<usize> {
    match node.attributes.get("axis") {
        Some(Attribute::Int(stated)) => axis(*stated, rank),
        _ => Err(Cause::Malformed("attribute \"axis\" must be an integer".into())),
    }
}
