//! The mean over axes.

use super::class::increasing;
use super::reduction::{self, Reduction};
use super::{Class, Operator};
use crate::{Channels, Emit, Interval, Node, Rule, Value};

/// The operator `ReduceMean`.
pub(super) struct ReduceMean;

impl Operator for ReduceMean {
    fn name(&self) -> &'static str {
        "ReduceMean"
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
        if let Some(count) = reduction.count(x, e)? {
            return e.expand_scaled(&kept, 1.0 / count, &reduction.kept, x);
        }
        let count = reduction.count_at_run_time(x, e)?;
        let shared = e.op("Div", &[&kept, &count]);
        e.expand(&shared, &reduction.kept, x)
    }

    fn interval(&self, node: &Node, x: &[Option<Interval>], e: &mut Emit<'_>) -> Rule<Interval> {
        Ok(increasing(node, x, e))
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        reduction::channels(node, c)
    }

    fn uniform(&self, _: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        inputs.first().copied()?
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn repeats_shares() {
        let text = vjp_text("ReduceMean", "x[n,2,2] axes=[1,2] -> y[n,1,1]", &[]);
        assert_snapshot!(text, @"
        Reshape.0 = Reshape(w, [-1, 1])
        MatMul.1 = MatMul(Reshape.0, [0.25, 0.25, 0.25, 0.25])
        Reshape.2 = Reshape(MatMul.1, [-1, 2, 2]) allowzero=0
        x' = Reshape.2
        ");
    }

    #[test]
    fn scales_before_it_repeats_where_the_axis_is_not_the_last() {
        let text = vjp_text("ReduceMean", "x[n,2,3] axes=[1] -> y[n,1,3]", &[]);
        assert_snapshot!(text, @"
        Mul.0 = Mul(w, 0.5)
        Expand.1 = Expand(Mul.0, [1, 2, 3])
        x' = Expand.1
        ");
    }

    #[test]
    fn counts_the_samples_of_a_batch_at_run_time() {
        let text = vjp_text("ReduceMean", "x[n,3] -> y[1,1]", &[]);
        assert_snapshot!(text, @"
        Shape.0 = Shape(x)
        Gather.1 = Gather(Shape.0, [0, 1])
        ReduceProd.2 = ReduceProd(Gather.1) keepdims=0
        Cast.3 = Cast(ReduceProd.2) to=1
        Div.4 = Div(w, Cast.3)
        Shape.5 = Shape(x)
        Expand.6 = Expand(Div.4, Shape.5)
        x' = Expand.6
        ");
    }
}
