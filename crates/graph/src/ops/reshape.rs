//! `Reshape`: the same elements in another shape, whatever `-1`, `0` and `allowzero` say about it. <https://onnx.ai/onnx/operators/onnx__Reshape.html>

use super::class::output;
use super::inputs::{int, restore_shape};
use super::{Class, Operator};
use crate::{Cause, Channels, Emit, Node, Pruned, Rule, Value};

#[derive(Debug)]
pub(super) struct Reshape;

impl Operator for Reshape {
    fn name(&self) -> &'static str {
        "Reshape"
    }

    fn class(&self) -> Class {
        Class::ShapeOnly
    }

    fn transpose(&self, node: &Node, _: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        restore_shape(node, y, e)
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        c.ints(node, 1)?;
        c.reshaped(node.required(0)?, output(node)?)
    }

    fn pruned(&self, node: &mut Node, p: &mut Pruned<'_>) -> Rule<()> {
        let (x, y) = (node.required(0)?.clone(), output(node)?.clone());
        let mut target = p.ints(node, 1).ok_or_else(|| Cause::Unsupported("a computed target".into()))?;
        for (axis, entry) in target.iter_mut().enumerate() {
            let Some(size) = p.size(&y, axis)? else { continue };
            // A zero copies from the input, which may have lost other positions in that place.
            let copies = *entry == 0 && p.changes(&x) && node.int("allowzero", 0)? == 0;
            if *entry > 0 || copies {
                *entry = int(size);
            }
        }
        p.set_ints(node, 1, &target)
    }
}
