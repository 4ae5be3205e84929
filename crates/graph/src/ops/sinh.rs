//! `sinh x`, whose derivative is `cosh x`.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Sinh`.
pub(super) struct Sinh;

impl Operator for Sinh {
    fn name(&self) -> &'static str {
        "Sinh"
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
            let cosine = e.op("Cosh", &[x]);
            Ok(e.op("Mul", &[w, &cosine]))
        })
    }
}
