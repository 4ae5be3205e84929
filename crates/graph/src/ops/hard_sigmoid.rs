//! `max(0, min(1, alpha x + beta))`. At both bends the derivative is 0.

use super::class::{positive, unary};
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `HardSigmoid`.
pub(super) struct HardSigmoid;

impl Operator for HardSigmoid {
    fn name(&self) -> &'static str {
        "HardSigmoid"
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
        let alpha = node.float("alpha", 0.2)?;
        unary(node, cotangents, wanted, |x, y, w| {
            let dtype = e.dtype(x)?;
            let (one, slope) = (e.scalar(1.0, dtype), e.scalar(f64::from(alpha), dtype));
            let rest = e.op("Sub", &[&one, y]);
            let between = e.op("Mul", &[y, &rest]);
            let mask = positive(&between, dtype, e);
            let derivative = e.op("Mul", &[&mask, &slope]);
            Ok(e.op("Mul", &[w, &derivative]))
        })
    }
}
