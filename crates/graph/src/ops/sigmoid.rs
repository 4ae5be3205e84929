//! `1 / (1 + exp(-x))`, whose derivative is `y (1 - y)`.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Sigmoid`.
pub(super) struct Sigmoid;

impl Operator for Sigmoid {
    fn name(&self) -> &'static str {
        "Sigmoid"
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
        unary(node, cotangents, wanted, |x, y, w| {
            let one = e.number(1.0, x)?;
            let rest = e.op("Sub", &[&one, y]);
            let derivative = e.op("Mul", &[y, &rest]);
            Ok(e.op("Mul", &[w, &derivative]))
        })
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn uses_the_output() {
        let text = vjp_text("Sigmoid", "x[n,3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Sub.0 = Sub(1, y)
        Mul.1 = Mul(y, Sub.0)
        Mul.2 = Mul(w, Mul.1)
        x' = Mul.2
        ");
    }
}
