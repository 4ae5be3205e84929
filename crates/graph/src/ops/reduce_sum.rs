//! The sum over axes.

use super::class::increasing;
use super::reduction::{self, Reduction};
use super::{Class, Operator};
use crate::{Channels, Emit, Interval, Node, Rule, Value};

/// The operator `ReduceSum`.
pub(super) struct ReduceSum;

impl Operator for ReduceSum {
    fn name(&self) -> &'static str {
        "ReduceSum"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    fn refused(&self) -> &'static str {
        "axes that are computed"
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let x = node.required(input)?;
        let reduction = Reduction::of(node, e)?;
        let kept = reduction.keep(y, e);
        e.expand(&kept, &reduction.kept, x)
    }

    fn interval(&self, node: &Node, x: &[Option<Interval>], e: &mut Emit<'_>) -> Rule<Interval> {
        Ok(increasing(node, x, e))
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        reduction::channels(node, c)
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn repeats() {
        let text = vjp_text("ReduceSum", "x[n,3,4] axes=[-1] -> y[n,3]", &[("keepdims", 0.into())]);
        assert_snapshot!(text, @"
        Unsqueeze.0 = Unsqueeze(w, [2])
        Reshape.1 = Reshape(Unsqueeze.0, [-1, 1])
        MatMul.2 = MatMul(Reshape.1, [1, 1, 1, 1])
        Reshape.3 = Reshape(MatMul.2, [-1, 3, 4]) allowzero=0
        x' = Reshape.3
        ");
    }

    #[test]
    fn repeats_over_the_batch_by_its_run_time_size() {
        let text = vjp_text("ReduceSum", "x[n,3] -> y[1,1]", &[]);
        assert_snapshot!(text, @"
        Shape.0 = Shape(x)
        Expand.1 = Expand(w, Shape.0)
        x' = Expand.1
        ");
    }

    #[test]
    fn passes_through_where_no_axis_is_meant() {
        let text = vjp_text("ReduceSum", "x[n,3] axes=[] -> y[n,3]", &[("noop_with_empty_axes", 1.into())]);
        assert_snapshot!(text, @"
        vjp/Identity.0 = Identity(w)
        x' = vjp/Identity.0
        ");
    }

    #[test]
    fn refuses_axes_out_of_range() {
        let text = vjp_text("ReduceSum", "x[n,3] axes=[2] -> y[n,3]", &[]);
        assert_snapshot!(text, @r#"vjp: node "node" (ReduceSum): malformed: axis 2 of a tensor with 2 dimensions"#);
    }
}
