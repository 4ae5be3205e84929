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
            let (one, slope) = (e.number(1.0, x)?, e.number(f64::from(alpha), x)?);
            let rest = e.op("Sub", &[&one, y]);
            let between = e.op("Mul", &[y, &rest]);
            let mask = positive(&between, dtype, e);
            let derivative = e.op("Mul", &[&mask, &slope]);
            Ok(e.op("Mul", &[w, &derivative]))
        })
    }

    fn uniform(&self, node: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        let (alpha, beta) = (node.float("alpha", 0.2).ok()?, node.float("beta", 0.5).ok()?);
        Some((f64::from(alpha) * inputs.first().copied()?? + f64::from(beta)).clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn is_flat_outside() {
        let text = vjp_text("HardSigmoid", "x[n,3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Sub.0 = Sub(1, y)
        Mul.1 = Mul(y, Sub.0)
        HardSigmoid.2 = HardSigmoid(Mul.1) alpha=MAX beta=0
        Mul.3 = Mul(HardSigmoid.2, 0.20000000298023224)
        Mul.4 = Mul(w, Mul.3)
        x' = Mul.4
        ");
    }
}
