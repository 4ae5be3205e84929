//! `x` where it is positive, else `alpha (exp(x) - 1)`. At 0 the derivative is `alpha`.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Elu`.
pub(super) struct Elu;

impl Operator for Elu {
    fn name(&self) -> &'static str {
        "Elu"
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
        unary(node, cotangents, wanted, |x, _, w| {
            // Not `y + alpha`, which would be rounded to zero long before `exp(x)` is.
            let dtype = e.dtype(x)?;
            let zero = e.scalar(0.0, dtype);
            let low = e.op("Min", &[x, &zero]);
            let exp = e.op("Exp", &[&low]);
            if alpha == 1.0 {
                return Ok(e.op("Mul", &[w, &exp]));
            }
            let (one, alpha) = (e.scalar(1.0, dtype), e.scalar(f64::from(alpha), dtype));
            let scaled = e.op("Mul", &[&exp, &alpha]);
            let mask = e.op("Greater", &[x, &zero]);
            let derivative = e.op("Where", &[&mask, &one, &scaled]);
            Ok(e.op("Mul", &[w, &derivative]))
        })
    }

    fn uniform(&self, node: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        let (x, alpha) = (inputs.first().copied()??, node.float("alpha", 1.0).ok()?);
        Some(if x < 0.0 { f64::from(alpha) * x.exp_m1() } else { x })
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn is_the_exponential() {
        let text = vjp_text("Elu", "x[n,3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Min.0 = Min(x, 0)
        Exp.1 = Exp(Min.0)
        Mul.2 = Mul(w, Exp.1)
        x' = Mul.2
        ");
    }

    #[test]
    fn scales_the_negative_side() {
        let text = vjp_text("Elu", "x[n,3] -> y[n,3]", &[("alpha", 0.5.into())]);
        assert_snapshot!(text, @"
        Min.0 = Min(x, 0)
        Exp.1 = Exp(Min.0)
        Mul.2 = Mul(Exp.1, 0.5)
        Greater.3 = Greater(x, 0)
        Where.4 = Where(Greater.3, 1, Mul.2)
        Mul.5 = Mul(w, Where.4)
        x' = Mul.5
        ");
    }
}
