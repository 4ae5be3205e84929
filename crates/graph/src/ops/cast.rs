//! `Cast`: another element type. <https://onnx.ai/onnx/operators/onnx__Cast.html>

use super::class::output;
use super::{Class, Operator};
use crate::{Cause, Channels, Emit, Node, Rule, Value};

#[derive(Debug)]
pub(super) struct Cast;

impl Operator for Cast {
    fn name(&self) -> &'static str {
        "Cast"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    fn refused(&self) -> &'static str {
        "from or to integers and booleans"
    }

    /// The cast back. Rounding between floating-point types counts as none.
    fn transpose(&self, node: &Node, _: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let output = output(node)?;
        let (from, to) = (e.dtype(node.required(0)?)?, e.dtype(output)?);
        if !from.is_float() || !to.is_float() {
            return Err(Cause::Unsupported(format!(
                "a cast from {from:?} to {to:?} has no derivative; floating-point types only"
            )));
        }
        Ok(e.cast(y, to, from))
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        c.elementwise(node)
    }
}
