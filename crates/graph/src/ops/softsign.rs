//! `x / (1 + |x|)`, whose derivative is `1 / (1 + |x|)²`.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Softsign`.
pub(super) struct Softsign;

impl Operator for Softsign {
    fn name(&self) -> &'static str {
        "Softsign"
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
            let size = e.op("Abs", &[x]);
            let divisor = e.op("Add", &[&size, &one]);
            let square = e.op("Mul", &[&divisor, &divisor]);
            Ok(e.op("Div", &[w, &square]))
        })
    }
}
