//! The mean of any number of inputs, broadcast.

use super::class::{increasing, unbroadcast};
use super::{Class, Operator};
use crate::{Channels, Emit, Interval, Node, Rule, Value};

/// The operator `Mean`.
pub(super) struct Mean;

impl Operator for Mean {
    fn name(&self) -> &'static str {
        "Mean"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let summed = unbroadcast(node, input, y, e)?;
        #[allow(clippy::cast_precision_loss)]
        let share = e.number(1.0 / node.inputs.len() as f64, node.required(input)?)?;
        Ok(e.op("Mul", &[&summed, &share]))
    }

    fn interval(&self, node: &Node, x: &[Option<Interval>], e: &mut Emit<'_>) -> Rule<Interval> {
        Ok(increasing(node, x, e))
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        c.terms(node)
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn passes_shares() {
        let text = vjp_text("Mean", "a[n,3] b[3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Mul.0 = Mul(w, 0.5)
        ReduceSum.1 = ReduceSum(w, [0]) keepdims=1
        Reshape.2 = Reshape(ReduceSum.1, [3]) allowzero=0
        Mul.3 = Mul(Reshape.2, 0.5)
        a' = Mul.0
        b' = Mul.3
        ");
    }
}
