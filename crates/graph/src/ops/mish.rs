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
            let one = e.scalar(1.0, e.dtype(x)?);
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
