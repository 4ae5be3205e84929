//! `Transpose`: axes in another order. <https://onnx.ai/onnx/operators/onnx__Transpose.html>

use super::inputs::{axis, int};
use super::{Class, Operator};
use crate::{Cause, Emit, Node, Rule, Value};

#[derive(Debug)]
pub(super) struct Transpose;

impl Operator for Transpose {
    fn name(&self) -> &'static str {
        "Transpose"
    }

    fn class(&self) -> Class {
        Class::ShapeOnly
    }

    /// The inverse permutation.
    fn transpose(&self, node: &Node, _: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let rank = e.dims(node.required(0)?)?.len();
        let Some(perm) = node.ints("perm")? else {
            // The default reverses the axes and is its own inverse.
            return Ok(e.op("Transpose", &[y]));
        };
        let mut inverse = vec![-1; rank];
        for (to, &from) in perm.iter().enumerate() {
            inverse[axis(from, rank)?] = int(to);
        }
        if perm.len() != rank || inverse.contains(&-1) {
            return Err(Cause::Malformed(format!("attribute \"perm\" {perm:?} is no permutation of {rank} axes")));
        }
        Ok(e.op_with("Transpose", &[y], [("perm", inverse.into())]))
    }
}
