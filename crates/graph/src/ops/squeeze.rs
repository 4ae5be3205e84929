//! `Squeeze`: dimensions of size 1 removed. <https://onnx.ai/onnx/operators/onnx__Squeeze.html>

use super::class::output;
use super::inputs::restore_shape;
use super::{Class, Operator};
use crate::{Cause, Channels, Emit, Node, Rule, Value};

#[derive(Debug)]
pub(super) struct Squeeze;

impl Operator for Squeeze {
    fn name(&self) -> &'static str {
        "Squeeze"
    }

    fn class(&self) -> Class {
        Class::ShapeOnly
    }

    fn transpose(&self, node: &Node, _: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        restore_shape(node, y, e)
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        if node.input(1).is_none() {
            return Err(Cause::Unsupported(
                "without axes it would also remove an axis that has one channel left".into(),
            ));
        }
        c.reshaped(node.required(0)?, output(node)?)
    }
}
