//! `a + b`, broadcast.

use super::class::{increasing, unbroadcast};
use super::{Class, Operator};
use crate::{Channels, Emit, Interval, Node, Rule, Value};

/// The operator `Add`.
pub(super) struct Add;

impl Operator for Add {
    fn name(&self) -> &'static str {
        "Add"
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
    fn is_summed_over_repeated_dimensions() {
        let text = vjp_text("Add", "a[n,3,4] b[3,1] -> y[n,3,4]", &[]);
        assert_snapshot!(text, @"
        ReduceSum.0 = ReduceSum(w, [0, 2]) keepdims=1
        Reshape.1 = Reshape(ReduceSum.0, [3, 1]) allowzero=0
        vjp/Identity.2 = Identity(w)
        a' = vjp/Identity.2
        b' = Reshape.1
        ");
    }

    #[test]
    fn passes_through_where_nothing_is_repeated() {
        let text = vjp_text("Add", "a[n,3] b[n,3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        vjp/Identity.0 = Identity(w)
        vjp/Identity.1 = Identity(w)
        a' = vjp/Identity.0
        b' = vjp/Identity.1
        ");
    }
}
