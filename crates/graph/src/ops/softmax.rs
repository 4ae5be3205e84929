//! `exp(x) / Σ exp(x)` along an axis. The product is `y (w - Σ w y)`.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Softmax`.
pub(super) struct Softmax;

impl Operator for Softmax {
    fn name(&self) -> &'static str {
        "Softmax"
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        let axis = node.int("axis", -1)?;
        unary(node, cotangents, wanted, |_, y, w| {
            let weighted = e.op("Mul", &[w, y]);
            let axes = e.ints(&[axis]);
            let sum = e.op("ReduceSum", &[&weighted, &axes]);
            let share = e.op("Mul", &[y, &sum]);
            Ok(e.op("Sub", &[&weighted, &share]))
        })
    }
}
