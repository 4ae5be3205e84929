//! `|x|`. At 0 the derivative is 0.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Abs`.
pub(super) struct Abs;

impl Operator for Abs {
    fn name(&self) -> &'static str {
        "Abs"
    }

    fn class(&self) -> Class {
        Class::Elementwise
    }

    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        unary(node, cotangents, wanted, |x, _, w| {
            let sign = e.op("Sign", &[x]);
            Ok(e.op("Mul", &[w, &sign]))
        })
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn its_sign() {
        let text = vjp_text("Abs", "x[n,3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Sign.0 = Sign(x)
        Mul.1 = Mul(w, Sign.0)
        x' = Mul.1
        ");
    }
}
