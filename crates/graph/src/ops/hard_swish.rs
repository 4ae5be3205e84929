//! `x h` with `h = max(0, min(1, x / 6 + 1/2))`. At -3 the derivative is 0 and at 3 it is 1.

use super::class::unary;
use super::{Class, Operator};
use crate::{DataType, Emit, Node, Rule, Value};

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
            let sixth = e.number(1.0 / 6.0, x)?;
            let gate = e.op_with("HardSigmoid", &[x], [("alpha", (1.0f32 / 6.0).into()), ("beta", 0.5.into())]);
            let mask = within_three(x, e)?;
            let scaled = e.op("Mul", &[x, &sixth]);
            let bend = e.op("Mul", &[&scaled, &mask]);
            let derivative = e.op("Add", &[&gate, &bend]);
            Ok(e.op("Mul", &[w, &derivative]))
        })
    }

    fn uniform(&self, _: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        let x = inputs.first().copied()??;
        Some(x * (x / 6.0 + 0.5).clamp(0.0, 1.0))
    }
}

/// 1 where `|x| < 3`, else 0.
///
/// For f32 it is a falling `HardSigmoid` whose slope is a power of two, so that `slope (3 - |x|)` is exact.
fn within_three(x: &Value, e: &mut Emit<'_>) -> Rule<Value> {
    const SLOPE: f32 = (1u128 << 100) as f32;
    let size = e.op("Abs", &[x]);
    let dtype = e.dtype(x)?;
    if dtype == DataType::Float {
        return Ok(e.op_with("HardSigmoid", &[&size], [("alpha", (-SLOPE).into()), ("beta", (3.0 * SLOPE).into())]));
    }
    let three = e.number(3.0, x)?;
    let within = e.op("Less", &[&size, &three]);
    Ok(e.cast(&within, DataType::Bool, dtype))
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
        Abs.1 = Abs(x)
        HardSigmoid.2 = HardSigmoid(Abs.1) alpha=-1267650600000000000000000000000 beta=3802951800000000000000000000000
        Mul.3 = Mul(x, 0.1666666716337204)
        Mul.4 = Mul(Mul.3, HardSigmoid.2)
        Add.5 = Add(HardSigmoid.0, Mul.4)
        Mul.6 = Mul(w, Add.5)
        x' = Mul.6
        ");
    }
}
