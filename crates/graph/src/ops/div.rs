//! `a / b`, broadcast. Linear in `a`; the derivative with respect to `b` is `-(a / b) / b`.

use super::class::{broadcast, output, unbroadcast};
use super::{Class, Operator};
use crate::{Cause, Channels, Dependence, Emit, Node, Rule, Value};

/// The operator `Div`.
pub(super) struct Div;

impl Operator for Div {
    fn name(&self) -> &'static str {
        "Div"
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        broadcast(node, cotangents, wanted, e, |input, w, e| {
            let quotient = e.op("Div", &[w, node.required(1)?]);
            if input == 0 {
                return Ok(quotient);
            }
            let product = e.op("Mul", &[&quotient, output(node)?]);
            Ok(e.op("Neg", &[&product]))
        })
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        if input != 0 {
            return Err(Cause::NoRule);
        }
        let quotient = e.op("Div", &[y, node.required(1)?]);
        unbroadcast(node, input, &quotient, e)
    }

    /// Linear in the dividend.
    fn dependence(&self, _: &Node, data: &[bool], _: &Emit<'_>) -> Rule<Dependence> {
        Ok(if data == [true, false] { Dependence::Linear } else { Dependence::Other })
    }

    fn radius(&self, node: &Node, r: &[Option<Value>], e: &mut Emit<'_>) -> Rule<Value> {
        let [Some(r), None] = r else { return Err(Cause::NoRule) };
        let size = e.op("Abs", &[node.required(1)?]);
        Ok(e.op("Div", &[r, &size]))
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        c.elementwise(node)
    }

    fn uniform(&self, _: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        let &[Some(a), Some(b)] = inputs else { return None };
        (b != 0.0).then(|| a / b)
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn divides_by_the_divisor() {
        let text = vjp_text("Div", "a[n,3] b[n,3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Div.0 = Div(w, b)
        Div.1 = Div(w, b)
        Mul.2 = Mul(Div.1, y)
        Neg.3 = Neg(Mul.2)
        a' = Div.0
        b' = Neg.3
        ");
    }
}
