//! `1 / x`, whose derivative is `-y²`.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Reciprocal`.
pub(super) struct Reciprocal;

impl Operator for Reciprocal {
    fn name(&self) -> &'static str {
        "Reciprocal"
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
        unary(node, cotangents, wanted, |_, y, w| {
            let square = e.op("Mul", &[y, y]);
            let minus = e.op("Neg", &[&square]);
            Ok(e.op("Mul", &[w, &minus]))
        })
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn uses_the_output() {
        let text = vjp_text("Reciprocal", "x[n,3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Mul.0 = Mul(y, y)
        Neg.1 = Neg(Mul.0)
        Mul.2 = Mul(w, Neg.1)
        x' = Mul.2
        ");
    }
}
