//! `CumSum`: sums of an element and those before it along an axis. <https://onnx.ai/onnx/operators/onnx__CumSum.html>

use super::{Class, Operator};
use crate::{Dependence, Emit, Node, Rule, Value};

/// Inputs: data, axis.
pub(super) struct CumSum;

impl Operator for CumSum {
    fn name(&self) -> &'static str {
        "CumSum"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    /// The same sum from the other end.
    fn transpose(&self, node: &Node, _: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let (exclusive, reverse) = (node.int("exclusive", 0)?, node.int("reverse", 0)?);
        Ok(e.op_with(
            "CumSum",
            &[y, node.required(1)?],
            [("exclusive", exclusive.into()), ("reverse", i64::from(reverse == 0).into())],
        ))
    }

    /// It may run along the batch, so it has no bounds.
    fn dependence(&self, _: &Node, _: &[bool], _: &Emit<'_>) -> Rule<Dependence> {
        Ok(Dependence::Other)
    }
}
