//! `x - log Σ exp(x)` along an axis. The product is `w - exp(y) Σ w`.

use super::class::unary;
use super::inputs::axis;
use super::{Class, Operator};
use crate::{Channels, Emit, Node, Rule, Value};

/// The operator `LogSoftmax`.
pub(super) struct LogSoftmax;

impl Operator for LogSoftmax {
    fn name(&self) -> &'static str {
        "LogSoftmax"
    }

    fn class(&self) -> Class {
        Class::Opaque
    }

    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        let axis = node.int("axis", -1)?;
        unary(node, cotangents, wanted, |_, y, w| {
            let axes = e.ints(&[axis]);
            let sum = e.op("ReduceSum", &[w, &axes]);
            let softmax = e.op("Exp", &[y]);
            let share = e.op("Mul", &[&softmax, &sum]);
            Ok(e.op("Sub", &[w, &share]))
        })
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        let along = axis(node.int("axis", -1)?, c.dims(node.required(0)?)?.len())?;
        c.all_but(node, |axis| axis == along, "it normalises over it")
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn uses_the_output() {
        let text = vjp_text("LogSoftmax", "x[n,3] -> y[n,3]", &[("axis", 1.into())]);
        assert_snapshot!(text, @"
        ReduceSum.0 = ReduceSum(w, [1])
        Exp.1 = Exp(y)
        Mul.2 = Mul(Exp.1, ReduceSum.0)
        Sub.3 = Sub(w, Mul.2)
        x' = Sub.3
        ");
    }
}
