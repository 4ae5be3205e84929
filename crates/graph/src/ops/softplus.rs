//! `log(1 + exp(x))`, whose derivative is the sigmoid.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Softplus`.
pub(super) struct Softplus;

impl Operator for Softplus {
    fn name(&self) -> &'static str {
        "Softplus"
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
        unary(node, cotangents, wanted, |x, _, w| {
            let derivative = e.op("Sigmoid", &[x]);
            Ok(e.op("Mul", &[w, &derivative]))
        })
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn is_the_sigmoid() {
        let text = vjp_text("Softplus", "x[n,3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Sigmoid.0 = Sigmoid(x)
        Mul.1 = Mul(w, Sigmoid.0)
        x' = Mul.1
        ");
    }
}
