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

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn is_one_exponential() {
        let text = vjp_text("Celu", "x[n,3] -> y[n,3]", &[("alpha", 2.0.into())]);
        assert_snapshot!(text, @"
        Min.0 = Min(x, 0)
        Mul.1 = Mul(Min.0, 0.5)
        Exp.2 = Exp(Mul.1)
        Mul.3 = Mul(w, Exp.2)
        x' = Mul.3
        ");
    }

    #[test]
    fn refuses_alpha_0() {
        let text = vjp_text("Celu", "x[n,3] -> y[n,3]", &[("alpha", 0.0.into())]);
        assert_snapshot!(text, @r#"vjp: node "node" (Celu): malformed: attribute "alpha" must not be 0"#);
    }
}
