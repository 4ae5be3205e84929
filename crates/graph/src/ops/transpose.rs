//! `Transpose`: axes in another order. <https://onnx.ai/onnx/operators/onnx__Transpose.html>

use super::class::output;
use super::inputs::{axis, int};
use super::{Class, Operator};
use crate::{Cause, Channels, Emit, Node, Rule, Value};

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

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        let (x, y) = (node.required(0)?, output(node)?);
        let rank = c.dims(x)?.len();
        let reversed: Vec<i64> = (0..int(rank)).rev().collect();
        for (to, &from) in node.ints("perm")?.unwrap_or(&reversed).iter().enumerate() {
            c.carry(x, axis(from, rank)?, y, to);
        }
        Ok(())
    }
}
