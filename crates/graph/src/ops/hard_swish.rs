//! `x h` with `h = max(0, min(1, x / 6 + 1/2))`. At -3 the derivative is 0 and at 3 it is 1.

use super::class::{positive, unary};
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `HardSwish`.
pub(super) struct HardSwish;

impl Operator for HardSwish {
    fn name(&self) -> &'static str {
        "HardSwish"
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
            let dtype = e.dtype(x)?;
            let (one, sixth) = (e.scalar(1.0, dtype), e.scalar(1.0 / 6.0, dtype));
            let gate = e.op_with("HardSigmoid", &[x], [("alpha", (1.0f32 / 6.0).into()), ("beta", 0.5.into())]);
            let rest = e.op("Sub", &[&one, &gate]);
            let between = e.op("Mul", &[&gate, &rest]);
            let mask = positive(&between, dtype, e);
            let scaled = e.op("Mul", &[x, &sixth]);
            let bend = e.op("Mul", &[&scaled, &mask]);
            let derivative = e.op("Add", &[&gate, &bend]);
            Ok(e.op("Mul", &[w, &derivative]))
        })
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn adds_gate_and_bend() {
        let text = vjp_text("HardSwish", "x[n,3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        HardSigmoid.0 = HardSigmoid(x) alpha=0.16666667 beta=0.5
        Sub.1 = Sub(1, HardSigmoid.0)
        Mul.2 = Mul(HardSigmoid.0, Sub.1)
        HardSigmoid.3 = HardSigmoid(Mul.2) alpha=MAX beta=0
        Mul.4 = Mul(x, 0.1666666716337204)
        Mul.5 = Mul(Mul.4, HardSigmoid.3)
        Add.6 = Add(HardSigmoid.0, Mul.5)
        Mul.7 = Mul(w, Add.6)
        x' = Mul.7
        ");
    }
}
