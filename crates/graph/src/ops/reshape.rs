//! `Reshape`: the same elements in another shape, whatever `-1`, `0` and `allowzero` say about it. <https://onnx.ai/onnx/operators/onnx__Reshape.html>

use super::inputs::restore_shape;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

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
}
