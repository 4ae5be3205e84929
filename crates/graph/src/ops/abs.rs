//! `|x|`. At 0 the derivative is 0.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Abs`.
pub(super) struct Abs;

impl Operator for Abs {
    fn name(&self) -> &'static str {
        "Abs"
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
            let sign = e.op("Sign", &[x]);
            Ok(e.op("Mul", &[w, &sign]))
        })
    }
}
