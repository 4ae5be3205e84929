//! `Unsqueeze`: dimensions of size 1 inserted. <https://onnx.ai/onnx/operators/onnx__Unsqueeze.html>

use super::class::output;
use super::inputs::restore_shape;
use super::{Class, Operator};
use crate::{Channels, Emit, Node, Rule, Value};

#[derive(Debug)]
pub(super) struct Unsqueeze;

impl Operator for Unsqueeze {
    fn name(&self) -> &'static str {
        "Unsqueeze"
    }

    fn class(&self) -> Class {
        Class::ShapeOnly
    }

    fn transpose(&self, node: &Node, _: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        restore_shape(node, y, e)
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        c.reshaped(node.required(0)?, output(node)?)
    }
}
