//! `a * b`, broadcast.

use super::class::unbroadcast;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Mul`.
pub(super) struct Mul;

impl Operator for Mul {
    fn name(&self) -> &'static str {
        "Mul"
    }

    fn class(&self) -> Class {
        Class::Bilinear
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let product = e.op("Mul", &[y, node.required(1 - input.min(1))?]);
        unbroadcast(node, input, &product, e)
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn multiplies_by_the_other() {
        let text = vjp_text("Mul", "a[n,3] b[3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Mul.0 = Mul(w, b)
        Mul.1 = Mul(w, a)
        ReduceSum.2 = ReduceSum(Mul.1, [0]) keepdims=1
        Reshape.3 = Reshape(ReduceSum.2, [3]) allowzero=0
        a' = Mul.0
        b' = Reshape.3
        ");
    }
}
