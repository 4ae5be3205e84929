//! `gamma x` where `x` is positive, else `gamma alpha (exp(x) - 1)`. At 0 the derivative is `gamma alpha`.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Selu`.
pub(super) struct Selu;

impl Operator for Selu {
    fn name(&self) -> &'static str {
        "Selu"
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
        let alpha = f64::from(node.float("alpha", 1.673_263_2)?);
        let gamma = f64::from(node.float("gamma", 1.050_701)?);
        unary(node, cotangents, wanted, |x, _, w| {
            let dtype = e.dtype(x)?;
            let zero = e.scalar(0.0, dtype);
            let low = e.op("Min", &[x, &zero]);
            let exp = e.op("Exp", &[&low]);
            let (high, scale) = (e.scalar(gamma, dtype), e.scalar(gamma * alpha, dtype));
            let scaled = e.op("Mul", &[&exp, &scale]);
            let mask = e.op("Greater", &[x, &zero]);
            let derivative = e.op("Where", &[&mask, &high, &scaled]);
            Ok(e.op("Mul", &[w, &derivative]))
        })
    }
}
