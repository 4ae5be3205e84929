//! `tanh(x)`, whose derivative is `1 - y²`.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Tanh`.
pub(super) struct Tanh;

impl Operator for Tanh {
    fn name(&self) -> &'static str {
        "Tanh"
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
            let square = e.op("Mul", &[y, y]);
            let derivative = e.op("Sub", &[&one, &square]);
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
        let text = vjp_text("Tanh", "x[n,3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Mul.0 = Mul(y, y)
        Sub.1 = Sub(1, Mul.0)
        Mul.2 = Mul(w, Sub.1)
        x' = Mul.2
        ");
    }
}
