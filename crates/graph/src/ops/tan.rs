//! `tan x`, whose derivative is `1 + y²`.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Tan`.
pub(super) struct Tan;

impl Operator for Tan {
    fn name(&self) -> &'static str {
        "Tan"
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
        unary(node, cotangents, wanted, |x, y, w| {
            let one = e.scalar(1.0, e.dtype(x)?);
            let square = e.op("Mul", &[y, y]);
            let slope = e.op("Add", &[&square, &one]);
            Ok(e.op("Mul", &[w, &slope]))
        })
    }
}
