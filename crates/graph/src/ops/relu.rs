//! `max(x, 0)`. At 0 the derivative is 0.

use super::class::{positive, unary};
use super::relax::kink_at_zero;
use super::{Class, Operator};
use crate::{Emit, Interval, Lines, Node, Rule, Value};

/// The operator `Relu`.
pub(super) struct Relu;

impl Operator for Relu {
    fn name(&self) -> &'static str {
        "Relu"
    }

    fn class(&self) -> Class {
        Class::Monotone
    }

    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        unary(node, cotangents, wanted, |x, y, w| {
            // The mask is made from the output, so that a runtime may still merge the ReLU into the operator before it.
            let mask = positive(y, e.dtype(x)?, e);
            Ok(e.op("Mul", &[w, &mask]))
        })
    }

    fn lines(&self, _: &Node, x: &Interval, slope: Option<&Value>, e: &mut Emit<'_>) -> Rule<Lines> {
        Ok(kink_at_zero(x, 0.0, slope, e))
    }

    fn has_slopes(&self) -> bool {
        true
    }

    fn kinks(&self, _: &Node, _: &Emit<'_>) -> Option<Vec<f64>> {
        Some(vec![0.0])
    }

    fn uniform(&self, _: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        Some(inputs.first().copied()??.max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn masks_by_the_output() {
        let text = vjp_text("Relu", "x[n,3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        HardSigmoid.0 = HardSigmoid(y) alpha=MAX beta=0
        Mul.1 = Mul(w, HardSigmoid.0)
        x' = Mul.1
        ");
    }

    #[test]
    fn masks_other_types_by_comparing() {
        let text = vjp_text("Relu", "x:f16[n,3] -> y:f16[n,3]", &[]);
        assert_snapshot!(text, @"
        Greater.0 = Greater(y, 0)
        Cast.1 = Cast(Greater.0) to=10
        Mul.2 = Mul(w, Cast.1)
        x' = Mul.2
        ");
    }
}
