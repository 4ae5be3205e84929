//! `arccos x`, whose derivative is `-1 / √(1 - x²)`: infinite at the ends.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Acos`.
pub(super) struct Acos;

impl Operator for Acos {
    fn name(&self) -> &'static str {
        "Acos"
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
        unary(node, cotangents, wanted, |x, _, w| {
            let one = e.scalar(1.0, e.dtype(x)?);
            let square = e.op("Mul", &[x, x]);
            let rest = e.op("Sub", &[&one, &square]);
            let root = e.op("Sqrt", &[&rest]);
            let quotient = e.op("Div", &[w, &root]);
            Ok(e.op("Neg", &[&quotient]))
        })
    }
}
