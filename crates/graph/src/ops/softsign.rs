//! `x / (1 + |x|)`, whose derivative is `1 / (1 + |x|)²`.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Softsign`.
pub(super) struct Softsign;

impl Operator for Softsign {
    fn name(&self) -> &'static str {
        "Softsign"
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
            let one = e.number(1.0, x)?;
            let size = e.op("Abs", &[x]);
            let divisor = e.op("Add", &[&size, &one]);
            let square = e.op("Mul", &[&divisor, &divisor]);
            Ok(e.op("Div", &[w, &square]))
        })
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn divides_by_a_square() {
        let text = vjp_text("Softsign", "x[n,3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Abs.0 = Abs(x)
        Add.1 = Add(Abs.0, 1)
        Mul.2 = Mul(Add.1, Add.1)
        Div.3 = Div(w, Mul.2)
        x' = Div.3
        ");
    }
}
