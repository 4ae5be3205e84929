//! `a` where the condition holds, else `b`, all broadcast.

use super::class::{increasing, unbroadcast};
use super::{Class, Operator};
use crate::{Channels, Emit, Interval, Node, Rule, Value};

/// The operator `Where`.
pub(super) struct Where;

impl Operator for Where {
    fn name(&self) -> &'static str {
        "Where"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let zero = e.scalar(0.0, e.dtype(node.required(input)?)?);
        let branches = if input == 1 { [y, &zero] } else { [&zero, y] };
        let chosen = e.op("Where", &[node.required(0)?, branches[0], branches[1]]);
        unbroadcast(node, input, &chosen, e)
    }

    /// Where the condition is fixed it only chooses.
    fn interval(&self, node: &Node, x: &[Option<Interval>], e: &mut Emit<'_>) -> Rule<Interval> {
        Ok(increasing(node, x, e))
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        c.elementwise(node)
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn chooses_by_the_same_condition() {
        let text = vjp_text("Where", "c:bool[n,1] a[n,3] b[3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Where.0 = Where(c, w, 0)
        Where.1 = Where(c, 0, w)
        ReduceSum.2 = ReduceSum(Where.1, [0]) keepdims=1
        Reshape.3 = Reshape(ReduceSum.2, [3]) allowzero=0
        a' = Where.0
        b' = Reshape.3
        ");
    }
}
