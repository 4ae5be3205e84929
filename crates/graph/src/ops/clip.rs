//! `min(max(x, low), high)`, either bound absent. At a bound the derivative is 1.
//!
//! A bound gets the cotangents of the elements that it stopped. Where the bounds cross, the upper one stops all.

use super::class::{output, unbroadcast};
use super::{Class, Operator};
use crate::{DataType, Emit, Node, Rule, Value};

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
