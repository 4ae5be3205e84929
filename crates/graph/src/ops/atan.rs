//! `arctan x`, whose derivative is `1 / (1 + x²)`.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Atan`.
pub(super) struct Atan;

impl Operator for Atan {
    fn name(&self) -> &'static str {
        "Atan"
    }

    fn class(&self) -> Class {
        Class::Monotone
    }

    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        unary(node, cotangents, wanted, |x, _, w| {
            let one = e.scalar(1.0, e.dtype(x)?);
            let square = e.op("Mul", &[x, x]);
            let sum = e.op("Add", &[&square, &one]);
            Ok(e.op("Div", &[w, &sum]))
        })
    }
}
