//! `tanh(x)`, whose derivative is `1 - y²`.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Tanh`.
pub(super) struct Tanh;

impl Operator for Tanh {
    fn name(&self) -> &'static str {
        "Tanh"
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
        unary(node, cotangents, wanted, |x, y, w| {
            let one = e.scalar(1.0, e.dtype(x)?);
            let square = e.op("Mul", &[y, y]);
            let derivative = e.op("Sub", &[&one, &square]);
            Ok(e.op("Mul", &[w, &derivative]))
        })
    }
}
