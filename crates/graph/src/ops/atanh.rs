//! `artanh x`, whose derivative is `1 / (1 - x²)`: infinite at the ends.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Atanh`.
pub(super) struct Atanh;

impl Operator for Atanh {
    fn name(&self) -> &'static str {
        "Atanh"
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
            let rest = e.op("Sub", &[&one, &square]);
            Ok(e.op("Div", &[w, &rest]))
        })
    }
}
