//! The sum of any number of inputs, broadcast.

use super::class::{increasing, unbroadcast};
use super::{Class, Operator};
use crate::{Channels, Emit, Interval, Node, Rule, Value};

/// The operator `Sum`.
pub(super) struct Sum;

impl Operator for Sum {
    fn name(&self) -> &'static str {
        "Sum"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        unbroadcast(node, input, y, e)
    }

    fn interval(&self, node: &Node, x: &[Option<Interval>], e: &mut Emit<'_>) -> Rule<Interval> {
        Ok(increasing(node, x, e))
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        c.terms(node)
    }

    fn uniform(&self, _: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        inputs.iter().copied().sum()
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn passes_to_every_input() {
        let text = vjp_text("Sum", "a[n,3] b[3] c[n,1] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        ReduceSum.0 = ReduceSum(w, [0]) keepdims=1
        Reshape.1 = Reshape(ReduceSum.0, [3]) allowzero=0
        ReduceSum.2 = ReduceSum(w, [1]) keepdims=1
        vjp/Identity.3 = Identity(w)
        a' = vjp/Identity.3
        b' = Reshape.1
        c' = ReduceSum.2
        ");
    }
}
