//! `OneHot`: one value where an index says, another elsewhere. <https://onnx.ai/onnx/operators/onnx__OneHot.html>

use super::{Class, Operator};
use crate::{Cause, Dim, Emit, Node, Rule, Tensor, Value};

/// Inputs: indices, depth, the values "off" and "on".
pub(super) struct OneHot;

impl Operator for OneHot {
    fn name(&self) -> &'static str {
        "OneHot"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    fn refused(&self) -> &'static str {
        "by indices, which only choose"
    }

    /// To "on" what lies where it is written, to "off" the rest.
    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        if input != 2 {
            return Err(Cause::Unsupported("the derivative with respect to indices, which only choose".into()));
        }
        let dtype = e.dtype(node.required(2)?)?;
        let values = e.tensor(Tensor::rounded(dtype, &[2], &[0.0, 1.0]));
        let axis = node.int("axis", -1)?;
        let mask = e.op_with("OneHot", &[node.required(0)?, node.required(1)?, &values], [("axis", axis.into())]);
        let marked = e.op("Mul", &[y, &mask]);
        let [all, on] = [y, &marked].map(|v| e.op_with("ReduceSum", &[v], [("keepdims", 0.into())]));
        let off = e.op("Sub", &[&all, &on]);
        let (off, on) = (e.reshape(&off, &[Dim::Fixed(1)])?, e.reshape(&on, &[Dim::Fixed(1)])?);
        Ok(e.op_with("Concat", &[&off, &on], [("axis", 0.into())]))
    }
}
