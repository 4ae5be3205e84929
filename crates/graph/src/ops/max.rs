//! The largest of any number of inputs, broadcast. Equal ones share the derivative evenly.

use super::class::{broadcast, output};
use super::{Class, Operator};
use crate::{DataType, Emit, Node, Rule, Value};

/// The operator `Max`.
pub(super) struct Max;

impl Operator for Max {
    fn name(&self) -> &'static str {
        "Max"
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
        extremum(node, cotangents, wanted, e)
    }

    fn uniform(&self, _: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        inputs.iter().copied().reduce(|a, b| Some(a?.max(b?)))?
    }
}

/// The gradient of `Max` and of `Min`: to the inputs that equal the output, in even shares.
pub(super) fn extremum(
    node: &Node,
    cotangents: &[Option<Value>],
    wanted: &[bool],
    e: &mut Emit<'_>,
) -> Rule<Vec<Option<Value>>> {
    let y = output(node)?;
    let dtype = e.dtype(y)?;
    let mut masks = Vec::with_capacity(node.inputs.len());
    for input in 0..node.inputs.len() {
        let equal = e.op("Equal", &[node.required(input)?, y]);
        masks.push(e.cast(&equal, DataType::Bool, dtype));
    }
    let ties = e.op("Sum", &masks.iter().collect::<Vec<_>>());
    broadcast(node, cotangents, wanted, e, |input, w, e| {
        let mask = e.op("Mul", &[w, &masks[input]]);
        Ok(e.op("Div", &[&mask, &ties]))
    })
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn shares_among_equals() {
        let text = vjp_text("Max", "a[n,3] b[3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Equal.0 = Equal(a, y)
        Cast.1 = Cast(Equal.0) to=1
        Equal.2 = Equal(b, y)
        Cast.3 = Cast(Equal.2) to=1
        Sum.4 = Sum(Cast.1, Cast.3)
        Mul.5 = Mul(w, Cast.1)
        Div.6 = Div(Mul.5, Sum.4)
        Mul.7 = Mul(w, Cast.3)
        Div.8 = Div(Mul.7, Sum.4)
        ReduceSum.9 = ReduceSum(Div.8, [0]) keepdims=1
        Reshape.10 = Reshape(ReduceSum.9, [3]) allowzero=0
        a' = Div.6
        b' = Reshape.10
        ");
    }
}
