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
