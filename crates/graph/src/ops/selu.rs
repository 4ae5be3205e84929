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

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn scales_both_sides() {
        let text = vjp_text("Selu", "x[n,3] -> y[n,3]", &[("alpha", 2.0.into()), ("gamma", 0.5.into())]);
        assert_snapshot!(text, @"
        Min.0 = Min(x, 0)
        Exp.1 = Exp(Min.0)
        Mul.2 = Mul(Exp.1, 1)
        Greater.3 = Greater(x, 0)
        Where.4 = Where(Greater.3, 0.5, Mul.2)
        Mul.5 = Mul(w, Where.4)
        x' = Mul.5
        ");
    }
}
