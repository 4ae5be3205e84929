//! `cosh x`, whose derivative is `sinh x`.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Cosh`.
pub(super) struct Cosh;

impl Operator for Cosh {
    fn name(&self) -> &'static str {
        "Cosh"
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
            let sine = e.op("Sinh", &[x]);
            Ok(e.op("Mul", &[w, &sine]))
        })
    }
}
