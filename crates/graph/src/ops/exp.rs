//! `exp(x)`, its own derivative.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Exp`.
pub(super) struct Exp;

impl Operator for Exp {
    fn name(&self) -> &'static str {
        "Exp"
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
        unary(node, cotangents, wanted, |_, y, w| Ok(e.op("Mul", &[w, y])))
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn uses_the_output() {
        let text = vjp_text("Exp", "x[n,3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Mul.0 = Mul(w, y)
        x' = Mul.0
        ");
    }
}
