//! `x + bias` below `-lambd`, `x - bias` above `lambd`, else 0. At both thresholds the derivative is 0.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Shrink`.
pub(super) struct Shrink;

impl Operator for Shrink {
    fn name(&self) -> &'static str {
        "Shrink"
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        let lambd = f64::from(node.float("lambd", 0.5)?);
        unary(node, cotangents, wanted, |x, _, w| {
            let dtype = e.dtype(x)?;
            let (zero, low, high) = (e.scalar(0.0, dtype), e.scalar(-lambd, dtype), e.scalar(lambd, dtype));
            let below = e.op("Less", &[x, &low]);
            let above = e.op("Greater", &[x, &high]);
            let passes = e.op("Or", &[&below, &above]);
            Ok(e.op("Where", &[&passes, w, &zero]))
        })
    }
}
