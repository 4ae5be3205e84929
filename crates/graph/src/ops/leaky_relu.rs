//! `x` where it is positive, else `alpha x`. At 0 the derivative is `alpha`.

use super::class::{positive, unary};
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `LeakyRelu`.
pub(super) struct LeakyRelu;

impl Operator for LeakyRelu {
    fn name(&self) -> &'static str {
        "LeakyRelu"
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
        let alpha = node.float("alpha", 0.01)?;
        unary(node, cotangents, wanted, |x, _, w| {
            let dtype = e.dtype(x)?;
            let slope = e.scalar(f64::from(alpha), dtype);
            let derivative = if (0.0..=1.0).contains(&alpha) {
                let mask = positive(x, dtype, e);
                e.op("Max", &[&mask, &slope])
            } else {
                let (zero, one) = (e.scalar(0.0, dtype), e.scalar(1.0, dtype));
                let mask = e.op("Greater", &[x, &zero]);
                e.op("Where", &[&mask, &one, &slope])
            };
            Ok(e.op("Mul", &[w, &derivative]))
        })
    }
}
