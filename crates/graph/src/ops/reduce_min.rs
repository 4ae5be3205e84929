//! The smallest element over axes. Equal ones share the derivative evenly.

use super::class::increasing;
use super::reduce_max::extremum;
use super::reduction;
use super::{Class, Operator};
use crate::{Channels, Emit, Interval, Node, Rule, Value};

/// The operator `ReduceMin`.
pub(super) struct ReduceMin;

impl Operator for ReduceMin {
    fn name(&self) -> &'static str {
        "ReduceMin"
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn refused(&self) -> &'static str {
        "axes that are computed"
    }

    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        extremum(node, cotangents, wanted, e)
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
    fn shares_among_equals() {
        let text = vjp_text("ReduceMin", "x[n,3] axes=[1] -> y[n,1]", &[]);
        assert_snapshot!(text, @"
        Equal.0 = Equal(x, y)
        Cast.1 = Cast(Equal.0) to=1
        ReduceSum.2 = ReduceSum(Cast.1, [1])
        Div.3 = Div(w, ReduceSum.2)
        Mul.4 = Mul(Cast.1, Div.3)
        x' = Mul.4
        ");
    }
}
