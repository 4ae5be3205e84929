//! `sin x`, whose derivative is `cos x`.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Sin`.
pub(super) struct Sin;

impl Operator for Sin {
    fn name(&self) -> &'static str {
        "Sin"
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
            let cosine = e.op("Cos", &[x]);
            Ok(e.op("Mul", &[w, &cosine]))
        })
    }
}
