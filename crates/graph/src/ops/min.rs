//! The smallest of any number of inputs, broadcast. Equal ones share the derivative evenly.

use super::max::extremum;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Min`.
pub(super) struct Min;

impl Operator for Min {
    fn name(&self) -> &'static str {
        "Min"
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
        inputs.iter().copied().reduce(|a, b| Some(a?.min(b?)))?
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn shares_among_equals() {
        let text = vjp_text("Min", "x[n,3] c=0.0 -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Equal.0 = Equal(x, y)
        Cast.1 = Cast(Equal.0) to=1
        Equal.2 = Equal(c, y)
        Cast.3 = Cast(Equal.2) to=1
        Sum.4 = Sum(Cast.1, Cast.3)
        Mul.5 = Mul(w, Cast.1)
        Div.6 = Div(Mul.5, Sum.4)
        x' = Div.6
        ");
    }
}
