//! `|x|`. At 0 the derivative is 0.

use super::class::{sign, unary};
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Abs`.
pub(super) struct Abs;

impl Operator for Abs {
    fn name(&self) -> &'static str {
        "Abs"
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
        unary(node, cotangents, wanted, |x, _, w| {
            let sign = sign(x, e.dtype(x)?, e);
            Ok(e.op("Mul", &[w, &sign]))
        })
    }

    fn uniform(&self, _: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        Some(inputs.first().copied()??.abs())
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn its_sign() {
        let text = vjp_text("Abs", "x[n,3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        HardSigmoid.0 = HardSigmoid(x) alpha=MAX beta=0
        Neg.1 = Neg(x)
        HardSigmoid.2 = HardSigmoid(Neg.1) alpha=MAX beta=0
        Sub.3 = Sub(HardSigmoid.0, HardSigmoid.2)
        Mul.4 = Mul(w, Sub.3)
        x' = Mul.4
        ");
    }
}
