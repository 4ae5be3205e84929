//! The largest element over axes. Equal ones share the derivative evenly.

use super::class::{increasing, unary};
use super::reduction::{self, Reduction};
use super::{Class, Operator};
use crate::{Channels, DataType, Emit, Interval, Node, Rule, Value};

/// The operator `ReduceMax`.
pub(super) struct ReduceMax;

impl Operator for ReduceMax {
    fn name(&self) -> &'static str {
        "ReduceMax"
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

/// The gradient of `ReduceMax` and of `ReduceMin`: to the elements that equal the output, in even shares.
pub(super) fn extremum(
    node: &Node,
    cotangents: &[Option<Value>],
    wanted: &[bool],
    e: &mut Emit<'_>,
) -> Rule<Vec<Option<Value>>> {
    let reduction = Reduction::of(node, e)?;
    unary(node, cotangents, wanted, |x, y, w| {
        if reduction.axes.is_empty() {
            return Ok(w.clone());
        }
        let (y, w) = (reduction.keep(y, e), reduction.keep(w, e));
        let equal = e.op("Equal", &[x, &y]);
        let mask = e.cast(&equal, DataType::Bool, e.dtype(x)?);
        let axes = e.ints(&reduction.axes);
        let ties = e.op("ReduceSum", &[&mask, &axes]);
        let share = e.op("Div", &[&w, &ties]);
        Ok(e.op("Mul", &[&mask, &share]))
    })
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn shares_among_equals() {
        let text = vjp_text("ReduceMax", "x[n,3] axes=[1] -> y[n]", &[("keepdims", 0.into())]);
        assert_snapshot!(text, @"
        Unsqueeze.0 = Unsqueeze(y, [1])
        Unsqueeze.1 = Unsqueeze(w, [1])
        Equal.2 = Equal(x, Unsqueeze.0)
        Cast.3 = Cast(Equal.2) to=1
        ReduceSum.4 = ReduceSum(Cast.3, [1])
        Div.5 = Div(Unsqueeze.1, ReduceSum.4)
        Mul.6 = Mul(Cast.3, Div.5)
        x' = Mul.6
        ");
    }
}
