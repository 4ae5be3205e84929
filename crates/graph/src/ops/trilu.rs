//! `Trilu`: the part above or below a diagonal of the last two dimensions, zeros elsewhere.
//! <https://onnx.ai/onnx/operators/onnx__Trilu.html>

use super::{Class, Operator};
use crate::{Dependence, Emit, Node, Rule, Value};

/// Inputs: data, number of the diagonal.
pub(super) struct Trilu;

impl Operator for Trilu {
    fn name(&self) -> &'static str {
        "Trilu"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    /// The same part.
    fn transpose(&self, node: &Node, _: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let inputs: Vec<&Value> = std::iter::once(y).chain(node.input(1)).collect();
        Ok(e.op_with("Trilu", &inputs, [("upper", node.int("upper", 1)?.into())]))
    }

    /// It may run along the batch, so it has no bounds.
    fn dependence(&self, _: &Node, _: &[bool], _: &Emit<'_>) -> Rule<Dependence> {
        Ok(Dependence::Other)
    }
}
