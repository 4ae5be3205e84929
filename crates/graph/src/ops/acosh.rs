//! `arcosh x`, whose derivative is `1 / √(x² - 1)`: infinite at 1.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Acosh`.
pub(super) struct Acosh;

impl Operator for Acosh {
    fn name(&self) -> &'static str {
        "Acosh"
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
            let rest = e.op("Sub", &[&square, &one]);
            let root = e.op("Sqrt", &[&rest]);
            Ok(e.op("Div", &[w, &root]))
        })
    }
}
