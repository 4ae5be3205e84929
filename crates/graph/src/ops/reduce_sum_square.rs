//! The sum of squares over axes.

use super::reduction::{Reduced, reduced};
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `ReduceSumSquare`.
pub(super) struct ReduceSumSquare;

impl Operator for ReduceSumSquare {
    fn name(&self) -> &'static str {
        "ReduceSumSquare"
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
            let two = e.scalar(2.0, e.dtype(x)?);
            let doubled = e.op("Mul", &[w, &two]);
            Ok(e.op("Mul", &[x, &doubled]))
        })
    }
}
