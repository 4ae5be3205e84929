//! `cos x`, whose derivative is `-sin x`.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Cos`.
pub(super) struct Cos;

impl Operator for Cos {
    fn name(&self) -> &'static str {
        "Cos"
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
            let sine = e.op("Sin", &[x]);
            let product = e.op("Mul", &[w, &sine]);
            Ok(e.op("Neg", &[&product]))
        })
    }
}
