//! `x t` with `t = tanh(softplus(x))`. The derivative is `t + x (1 - t²) sigmoid(x)`.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Mish`.
pub(super) struct Mish;

impl Operator for Mish {
    fn name(&self) -> &'static str {
        "Mish"
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
            let one = e.number(1.0, x)?;
            let softplus = e.op("Softplus", &[x]);
            let t = e.op("Tanh", &[&softplus]);
            let square = e.op("Mul", &[&t, &t]);
            let rest = e.op("Sub", &[&one, &square]);
            let sigmoid = e.op("Sigmoid", &[x]);
            let inner = e.op("Mul", &[&rest, &sigmoid]);
            let second = e.op("Mul", &[x, &inner]);
            let derivative = e.op("Add", &[&t, &second]);
            Ok(e.op("Mul", &[w, &derivative]))
        })
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn uses_its_gate() {
        let text = vjp_text("Mish", "x[n,3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Softplus.0 = Softplus(x)
        Tanh.1 = Tanh(Softplus.0)
        Mul.2 = Mul(Tanh.1, Tanh.1)
        Sub.3 = Sub(1, Mul.2)
        Sigmoid.4 = Sigmoid(x)
        Mul.5 = Mul(Sub.3, Sigmoid.4)
        Mul.6 = Mul(x, Mul.5)
        Add.7 = Add(Tanh.1, Mul.6)
        Mul.8 = Mul(w, Add.7)
        x' = Mul.8
        ");
    }
}
