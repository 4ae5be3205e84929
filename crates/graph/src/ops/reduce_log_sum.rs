//! The logarithm of the sum over axes, whose derivative is `1 / Σ x = exp(-y)`.

use super::reduction::{Reduced, reduced};
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `ReduceLogSum`.
pub(super) struct ReduceLogSum;

impl Operator for ReduceLogSum {
    fn name(&self) -> &'static str {
        "ReduceLogSum"
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
        reduced(node, cotangents, wanted, e, |Reduced { x, y, w, reduction }, e| {
            let minus = e.op("Neg", &[y]);
            let rate = e.op("Exp", &[&minus]);
            let share = e.op("Mul", &[w, &rate]);
            e.expand(&share, &reduction.kept, x)
        })
    }
}
