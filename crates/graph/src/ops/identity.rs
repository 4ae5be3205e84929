//! `Identity`: its input. <https://onnx.ai/onnx/operators/onnx__Identity.html>

use super::{Class, Operator};
use crate::{Channels, Emit, Node, Rule, Value};

#[derive(Debug)]
pub(super) struct Identity;

impl Operator for Identity {
    fn name(&self) -> &'static str {
        "Identity"
    }

    fn class(&self) -> Class {
        Class::ShapeOnly
    }

    fn transpose(&self, _: &Node, _: usize, y: &Value, _: &mut Emit<'_>) -> Rule<Value> {
        Ok(y.clone())
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        c.elementwise(node)
    }
}
