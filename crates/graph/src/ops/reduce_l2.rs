//! The Euclidean norm over axes. Where all elements are 0 the derivative is 0.

use super::class::divided_where_not_zero;
use super::reduction::{Reduced, reduced};
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `ReduceL2`.
pub(super) struct ReduceL2;

impl Operator for ReduceL2 {
    fn name(&self) -> &'static str {
        "ReduceL2"
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
            let rate = divided_where_not_zero(w, y, e.dtype(x)?, e);
            Ok(e.op("Mul", &[x, &rate]))
        })
    }
}
