//! `x` where it is positive, else `alpha x`. At 0 the derivative is `alpha`.

use super::class::{increasing, positive, unary};
use super::relax::kink_at_zero;
use super::{Class, Operator};
use crate::{Cause, Emit, Interval, Lines, Node, Rule, Value};

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

    /// It rises where `alpha` is not negative.
    fn interval(&self, node: &Node, x: &[Option<Interval>], e: &mut Emit<'_>) -> Rule<Interval> {
        alpha_in_range(node)?;
        Ok(increasing(node, x, e))
    }

    fn lines(&self, node: &Node, x: &Interval, slope: Option<&Value>, e: &mut Emit<'_>) -> Rule<Lines> {
        Ok(kink_at_zero(x, alpha_in_range(node)?, slope, e))
    }

    fn has_slopes(&self) -> bool {
        true
    }

    fn kinks(&self, _: &Node, _: &Emit<'_>) -> Option<Vec<f64>> {
        Some(vec![0.0])
    }

    fn uniform(&self, node: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        let (x, alpha) = (inputs.first().copied()??, node.float("alpha", 0.01).ok()?);
        Some(if x < 0.0 { f64::from(alpha) * x } else { x })
    }
}

/// `alpha`, which must be in [0, 1): then the function rises and is convex.
fn alpha_in_range(node: &Node) -> Rule<f64> {
    let alpha = node.float("alpha", 0.01)?;
    if (0.0..1.0).contains(&alpha) {
        return Ok(f64::from(alpha));
    }
    Err(Cause::Unsupported(format!("alpha {alpha}; bounds need 0 <= alpha < 1")))
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn masks_above_the_slope() {
        let text = vjp_text("LeakyRelu", "x[n,3] -> y[n,3]", &[("alpha", 0.25.into())]);
        assert_snapshot!(text, @"
        HardSigmoid.0 = HardSigmoid(x) alpha=MAX beta=0
        Max.1 = Max(HardSigmoid.0, 0.25)
        Mul.2 = Mul(w, Max.1)
        x' = Mul.2
        ");
    }

    #[test]
    fn chooses_where_the_slope_is_steep() {
        let text = vjp_text("LeakyRelu", "x[n,3] -> y[n,3]", &[("alpha", 2.0.into())]);
        assert_snapshot!(text, @"
        Greater.0 = Greater(x, 0)
        Where.1 = Where(Greater.0, 1, 2)
        Mul.2 = Mul(w, Where.1)
        x' = Mul.2
        ");
    }
}
