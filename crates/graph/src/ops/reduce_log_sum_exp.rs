//! `log Σ exp(x)` over axes, whose derivative is the softmax `exp(x - y)`.

use super::reduction::{Reduced, reduced};
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `ReduceLogSumExp`.
pub(super) struct ReduceLogSumExp;

impl Operator for ReduceLogSumExp {
    fn name(&self) -> &'static str {
        "ReduceLogSumExp"
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn refused(&self) -> &'static str {
        "axes that are computed; `noop_with_empty_axes` without axes"
    }

    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        reduced(node, cotangents, wanted, e, |Reduced { x, y, w, .. }, e| {
            let lower = e.op("Sub", &[x, y]);
            let share = e.op("Exp", &[&lower]);
            Ok(e.op("Mul", &[&share, w]))
        })
    }
}
