//! `-x`.

use super::{Class, Operator};
use crate::{Cause, Channels, Emit, Interval, Node, Rule, Value};

/// The operator `Neg`.
pub(super) struct Neg;

impl Operator for Neg {
    fn name(&self) -> &'static str {
        "Neg"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let _ = (node, input);
        Ok(e.op("Neg", &[y]))
    }

    fn interval(&self, _: &Node, x: &[Option<Interval>], e: &mut Emit<'_>) -> Rule<Interval> {
        let [Some(x)] = x else { return Err(Cause::NoRule) };
        Ok(Interval { lower: e.op("Neg", &[&x.upper]), upper: e.op("Neg", &[&x.lower]) })
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        c.elementwise(node)
    }

    fn uniform(&self, _: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        Some(-inputs.first().copied()??)
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn changes_sign() {
        let text = vjp_text("Neg", "x[n,3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Neg.0 = Neg(w)
        x' = Neg.0
        ");
    }
}
