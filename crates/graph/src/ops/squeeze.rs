//! `Squeeze`: dimensions of size 1 removed. <https://onnx.ai/onnx/operators/onnx__Squeeze.html>

use super::inputs::restore_shape;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

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
}
