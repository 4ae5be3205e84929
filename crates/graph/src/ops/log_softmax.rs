//! `x - log Σ exp(x)` along an axis. The product is `w - exp(y) Σ w`.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `LogSoftmax`.
pub(super) struct LogSoftmax;

impl Operator for LogSoftmax {
    fn name(&self) -> &'static str {
        "LogSoftmax"
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
            let axes = e.ints(&[axis]);
            let sum = e.op("ReduceSum", &[w, &axes]);
            let softmax = e.op("Exp", &[y]);
            let share = e.op("Mul", &[&softmax, &sum]);
            Ok(e.op("Sub", &[w, &share]))
        })
    }
}
