//! `a - b`, broadcast.

use super::class::unbroadcast;
use super::{Class, Operator};
use crate::{Channels, Emit, Node, Rule, Value};

/// The operator `Sub`.
pub(super) struct Sub;

impl Operator for Sub {
    fn name(&self) -> &'static str {
        "Sub"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        if input == 0 {
            return unbroadcast(node, input, y, e);
        }
        let minus = e.op("Neg", &[y]);
        unbroadcast(node, input, &minus, e)
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        c.terms(node)
    }

    fn uniform(&self, _: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        let &[Some(a), Some(b)] = inputs else { return None };
        Some(a - b)
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn changes_sign_on_the_right() {
        let text = vjp_text("Sub", "a[n,3] b[n,3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Neg.0 = Neg(w)
        vjp/Identity.1 = Identity(w)
        a' = vjp/Identity.1
        b' = Neg.0
        ");
    }
}
