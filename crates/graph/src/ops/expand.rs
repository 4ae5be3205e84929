//! `Expand`: a tensor broadcast to a shape. <https://onnx.ai/onnx/operators/onnx__Expand.html>

use super::class::output;
use super::inputs::int;
use super::{Class, Operator};
use crate::{Cause, Channels, Emit, Node, Pruned, Rule, Value};

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

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        let (x, y) = (node.required(0)?, output(node)?);
        c.ints(node, 1)?;
        (0..c.dims(y)?.len()).for_each(|axis| c.free(y, axis));
        c.broadcast(x, y)
    }

    fn pruned(&self, node: &mut Node, p: &mut Pruned<'_>) -> Rule<()> {
        let y = output(node)?.clone();
        let mut target = p.ints(node, 1).ok_or_else(|| Cause::Unsupported("a computed target".into()))?;
        let lead = p.dims(&y)?.len().saturating_sub(target.len());
        for (axis, entry) in target.iter_mut().enumerate() {
            if let Some(size) = p.size(&y, lead + axis)?.filter(|_| *entry != 1) {
                *entry = int(size);
            }
        }
        p.set_ints(node, 1, &target)
    }
}
