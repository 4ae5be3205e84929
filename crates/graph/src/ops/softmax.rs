//! `exp(x) / Σ exp(x)` along an axis. The product is `y (w - Σ w y)`.

use super::class::unary;
use super::inputs::axis;
use super::{Class, Operator};
use crate::{Channels, Emit, Node, Rule, Value};

/// The operator `Softmax`.
pub(super) struct Softmax;

impl Operator for Softmax {
    fn name(&self) -> &'static str {
        "Softmax"
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
            let weighted = e.op("Mul", &[w, y]);
            let axes = e.ints(&[axis]);
            let sum = e.op("ReduceSum", &[&weighted, &axes]);
            let share = e.op("Mul", &[y, &sum]);
            Ok(e.op("Sub", &[&weighted, &share]))
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
        let text = vjp_text("Softmax", "x[n,3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Mul.0 = Mul(w, y)
        ReduceSum.1 = ReduceSum(Mul.0, [-1])
        Mul.2 = Mul(y, ReduceSum.1)
        Sub.3 = Sub(Mul.0, Mul.2)
        x' = Sub.3
        ");
    }
}
