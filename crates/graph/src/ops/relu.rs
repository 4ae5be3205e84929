//! `max(x, 0)`. At 0 the derivative is 0.

use super::class::{positive, unary};
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Relu`.
pub(super) struct Relu;

impl Operator for Relu {
    fn name(&self) -> &'static str {
        "Relu"
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
            // The mask is made from the output, so that a runtime may still merge the ReLU into the operator before it.
            let mask = positive(y, e.dtype(x)?, e);
            Ok(e.op("Mul", &[w, &mask]))
        })
    }
}
