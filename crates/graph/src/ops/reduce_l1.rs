//! The sum of magnitudes over axes. At 0 the derivative is 0.

use super::class::sign;
use super::reduction::{Reduced, reduced};
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `ReduceL1`.
pub(super) struct ReduceL1;

impl Operator for ReduceL1 {
    fn name(&self) -> &'static str {
        "ReduceL1"
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
        reduced(node, cotangents, wanted, e, |Reduced { x, w, .. }, e| {
            let sign = sign(x, e.dtype(x)?, e);
            Ok(e.op("Mul", &[&sign, w]))
        })
    }
}
