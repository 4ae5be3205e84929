//! `Mod` with `fmod`: the remainder `a - b trunc(a / b)`, which has the sign of `a`.
//!
//! At the multiples of `b`, where it jumps, the derivative is that of both sides. Without `fmod` it is one of integers.

use super::class::{broadcast, output};
use super::{Class, Operator};
use crate::{Channels, Emit, Node, Rule, Value};

/// Inputs: dividend, divisor.
pub(super) struct Mod;

impl Operator for Mod {
    fn name(&self) -> &'static str {
        "Mod"
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    /// 1 for the dividend, and `-trunc(a / b) = -(a - y) / b` for the divisor.
    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        broadcast(node, cotangents, wanted, e, |input, w, e| {
            if input == 0 {
                return Ok(w.clone());
            }
            let whole = e.op("Sub", &[node.required(0)?, output(node)?]);
            let times = e.op("Div", &[&whole, node.required(1)?]);
            let product = e.op("Mul", &[w, &times]);
            Ok(e.op("Neg", &[&product]))
        })
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        c.elementwise(node)
    }
}
