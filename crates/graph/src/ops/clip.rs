//! `min(max(x, low), high)`, either bound absent. At a bound the derivative is 1.
//!
//! A bound gets the cotangents of the elements that it stopped. Where the bounds cross, the upper one stops all.

use super::class::{output, unbroadcast};
use super::relax::{chord, either};
use super::{Class, Operator};
use crate::{DataType, Emit, Interval, Line, Lines, Node, Rule, Value};

/// The operator `Clip`.
pub(super) struct Clip;

impl Operator for Clip {
    fn name(&self) -> &'static str {
        "Clip"
    }

    fn class(&self) -> Class {
        Class::Monotone
    }

    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        let mut products = vec![None; wanted.len()];
        let Some(w) = cotangents.first().and_then(Option::as_ref) else { return Ok(products) };
        let (x, y) = (node.required(0)?, output(node)?);
        for (input, product) in products.iter_mut().enumerate().filter(|(input, _)| wanted[*input]) {
            let stopped = match input {
                // What is not clipped comes out as it went in.
                0 => e.op("Equal", &[x, y]),
                1 => at_low(node, x, e)?,
                _ => {
                    let raised = match node.input(1) {
                        Some(low) => e.op("Max", &[x, low]),
                        None => x.clone(),
                    };
                    e.op("Less", &[node.required(2)?, &raised])
                }
            };
            let mask = e.cast(&stopped, DataType::Bool, e.dtype(x)?);
            let all = e.op("Mul", &[w, &mask]);
            *product = Some(if input == 0 { all } else { unbroadcast(node, input, &all, e)? });
        }
        Ok(products)
    }

    /// Above lies the chord from the lower end to where the upper bound stops the function, or that bound itself, whichever leaves the
    /// smaller area where both are as sound; below, the same turned around.
    fn lines(&self, node: &Node, x: &Interval, _: Option<&Value>, e: &mut Emit<'_>) -> Rule<Lines> {
        let (low, high) = (node.input(1), node.input(2));
        let (l, u) = (&x.lower, &x.upper);
        let clipped =
            |value: &Value, e: &mut Emit<'_>| e.again(node, vec![Some(value.clone()), low.cloned(), high.cloned()]);
        let (at_l, at_u) = (clipped(l, e), clipped(u, e));
        let until = high.map_or_else(|| u.clone(), |high| e.op("Min", &[u, high]));
        let from = low.map_or_else(|| l.clone(), |low| e.op("Max", &[l, low]));
        let (at_until, at_from) = (clipped(&until, e), clipped(&from, e));
        let mut above = chord([l, &at_l], [&until, &at_until], e);
        let mut below = chord([&from, &at_from], [u, &at_u], e);
        let zero = e.scalar(0.0, DataType::Float);
        // Without a bend at the other end the function itself is a line there, which overshoots by `u - high`, the bound by `high - l`.
        if let Some(high) = high {
            let (over, under) = (e.op("Sub", &[u, high]), e.op("Sub", &[high, l]));
            let larger = e.op("Greater", &[&over, &under]);
            let straight = e.op("GreaterOrEqual", &[l, &from]);
            let level = e.op("And", &[&larger, &straight]);
            above = either(&level, &Line { slope: zero.clone(), offset: Some(high.clone()) }, &above, e);
        }
        if let Some(low) = low {
            let (under, over) = (e.op("Sub", &[low, l]), e.op("Sub", &[u, low]));
            let larger = e.op("Greater", &[&under, &over]);
            let straight = e.op("LessOrEqual", &[u, &until]);
            let level = e.op("And", &[&larger, &straight]);
            below = either(&level, &Line { slope: zero, offset: Some(low.clone()) }, &below, e);
        }
        Ok(Lines { lower: below, upper: above })
    }

    fn kinks(&self, node: &Node, e: &Emit<'_>) -> Option<Vec<f64>> {
        let bound = |i: usize| node.input(i).map(|bound| e.constant(bound)?.to_f64()?.first().copied());
        [bound(1), bound(2)].into_iter().flatten().collect()
    }

    fn uniform(&self, node: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        let bound = |i: usize, open: f64| if node.input(i).is_some() { inputs[i] } else { Some(open) };
        Some(inputs.first().copied()??.max(bound(1, f64::NEG_INFINITY)?).min(bound(2, f64::INFINITY)?))
    }
}

/// Where the lower bound is what comes out.
fn at_low(node: &Node, x: &Value, e: &mut Emit<'_>) -> Rule<Value> {
    let low = node.required(1)?;
    let below = e.op("Less", &[x, low]);
    let Some(high) = node.input(2) else { return Ok(below) };
    let ordered = e.op("LessOrEqual", &[low, high]);
    Ok(e.op("And", &[&below, &ordered]))
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn passes_what_is_not_clipped() {
        let text = vjp_text("Clip", "x[n,3] low=0.0 high=6.0 -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Equal.0 = Equal(x, y)
        Cast.1 = Cast(Equal.0) to=1
        Mul.2 = Mul(w, Cast.1)
        x' = Mul.2
        ");
    }

    #[test]
    fn sums_what_a_computed_bound_stopped() {
        let text = vjp_text("Clip", "x[n,3] _ high[] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Equal.0 = Equal(x, y)
        Cast.1 = Cast(Equal.0) to=1
        Mul.2 = Mul(w, Cast.1)
        Less.3 = Less(high, x)
        Cast.4 = Cast(Less.3) to=1
        Mul.5 = Mul(w, Cast.4)
        ReduceSum.6 = ReduceSum(Mul.5, [0, 1]) keepdims=1
        Reshape.7 = Reshape(ReduceSum.6, []) allowzero=0
        x' = Mul.2
        high' = Reshape.7
        ");
    }
}
