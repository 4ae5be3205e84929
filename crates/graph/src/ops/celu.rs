//! `max(x, 0) + min(0, alpha (exp(x / alpha) - 1))`, whose derivative is `exp(min(x, 0) / alpha)`.

use super::class::unary;
use super::{Class, Operator};
use crate::{Cause, Emit, Node, Rule, Value};

/// The operator `Celu`.
pub(super) struct Celu;

impl Operator for Celu {
    fn name(&self) -> &'static str {
        "Celu"
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
        let alpha = node.float("alpha", 1.0)?;
        if alpha == 0.0 {
            return Err(Cause::Malformed("attribute \"alpha\" must not be 0".into()));
        }
        unary(node, cotangents, wanted, |x, _, w| {
            let dtype = e.dtype(x)?;
            let (zero, rate) = (e.scalar(0.0, dtype), e.scalar(1.0 / f64::from(alpha), dtype));
            let low = e.op("Min", &[x, &zero]);
            let scaled = e.op("Mul", &[&low, &rate]);
            let exp = e.op("Exp", &[&scaled]);
            Ok(e.op("Mul", &[w, &exp]))
        })
    }
}
