//! `a / b`, broadcast. Linear in `a`; the derivative with respect to `b` is `-(a / b) / b`.

use super::class::{broadcast, output};
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Div`.
pub(super) struct Div;

impl Operator for Div {
    fn name(&self) -> &'static str {
        "Div"
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        broadcast(node, cotangents, wanted, e, |input, w, e| {
            let quotient = e.op("Div", &[w, node.required(1)?]);
            if input == 0 {
                return Ok(quotient);
            }
            let product = e.op("Mul", &[&quotient, output(node)?]);
            Ok(e.op("Neg", &[&product]))
        })
    }
}
