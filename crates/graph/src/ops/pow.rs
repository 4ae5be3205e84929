//! `x^p`, broadcast; the exponent may be of another type, integers included.
//!
//! The derivatives are `p x^(p - 1)`, 0 where `p = 0`, and `y log(x)`, 0 where `x = 0` and `p >= 0`.

use super::class::{broadcast, output};
use super::{Class, Operator};
use crate::{Channels, Emit, Node, Rule, Tensor, Value};

/// The operator `Pow`.
pub(super) struct Pow;

impl Operator for Pow {
    fn name(&self) -> &'static str {
        "Pow"
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
        let (x, p) = (node.required(0)?, node.required(1)?);
        broadcast(node, cotangents, wanted, e, |input, w, e| {
            let derivative = match (input, e.constant(p).and_then(single)) {
                (0, Some(p)) => by_base(x, p, e)?,
                (0, None) => by_varying_base(x, p, e)?,
                _ => by_exponent(x, p, output(node)?, e)?,
            };
            let product = e.op("Mul", &[w, &derivative]);
            Ok(e.cast(&product, e.dtype(x)?, e.dtype(if input == 0 { x } else { p })?))
        })
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        c.elementwise(node)
    }
}

/// The number in a tensor of one element.
fn single(tensor: &Tensor) -> Option<f64> {
    let [value] = tensor.to_f64()?[..] else { return None };
    Some(value)
}

/// `p x^(p - 1)` for an exponent that is a known number.
fn by_base(x: &Value, p: f64, e: &mut Emit<'_>) -> Rule<Value> {
    let dtype = e.dtype(x)?;
    let factor = e.scalar(p, dtype);
    if p == 0.0 || p == 1.0 {
        return Ok(factor);
    }
    if p == 2.0 {
        return Ok(e.op("Mul", &[x, &factor]));
    }
    let lower = e.scalar(p - 1.0, dtype);
    let power = e.op("Pow", &[x, &lower]);
    Ok(e.op("Mul", &[&power, &factor]))
}

/// `p x^(p - 1)` for exponents that are given by a tensor.
fn by_varying_base(x: &Value, p: &Value, e: &mut Emit<'_>) -> Rule<Value> {
    let dtype = e.dtype(x)?;
    let p = e.cast(p, e.dtype(p)?, dtype);
    let (zero, one) = (e.scalar(0.0, dtype), e.scalar(1.0, dtype));
    let lower = e.op("Sub", &[&p, &one]);
    let power = e.op("Pow", &[x, &lower]);
    let product = e.op("Mul", &[&power, &p]);
    // 0 * 0^-1 is not a number.
    let is_zero = e.op("Equal", &[&p, &zero]);
    Ok(e.op("Where", &[&is_zero, &zero, &product]))
}

/// `y log(x)`.
fn by_exponent(x: &Value, p: &Value, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
    let dtype = e.dtype(x)?;
    let (zero, zero_p) = (e.scalar(0.0, dtype), e.scalar(0.0, e.dtype(p)?));
    let log = e.op("Log", &[x]);
    let product = e.op("Mul", &[y, &log]);
    let x_is_zero = e.op("Equal", &[x, &zero]);
    let p_is_negative = e.op("Less", &[p, &zero_p]);
    let p_is_not = e.op("Not", &[&p_is_negative]);
    let flat = e.op("And", &[&x_is_zero, &p_is_not]);
    Ok(e.op("Where", &[&flat, &zero, &product]))
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn squares_without_a_power() {
        let text = vjp_text("Pow", "x[n,3] p=2.0 -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Mul.0 = Mul(x, 2)
        Mul.1 = Mul(w, Mul.0)
        x' = Mul.1
        ");
    }

    #[test]
    fn lowers_a_known_exponent() {
        let text = vjp_text("Pow", "x[n,3] p=[3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Pow.0 = Pow(x, 2)
        Mul.1 = Mul(Pow.0, 3)
        Mul.2 = Mul(w, Mul.1)
        x' = Mul.2
        ");
    }

    #[test]
    fn is_0_for_a_varying_exponent_0() {
        let text = vjp_text("Pow", "x[n,2] p=[0,3] -> y[n,2]", &[]);
        assert_snapshot!(text, @"
        Cast.0 = Cast(p) to=1
        Sub.1 = Sub(Cast.0, 1)
        Pow.2 = Pow(x, Sub.1)
        Mul.3 = Mul(Pow.2, Cast.0)
        Equal.4 = Equal(Cast.0, 0)
        Where.5 = Where(Equal.4, 0, Mul.3)
        Mul.6 = Mul(w, Where.5)
        x' = Mul.6
        ");
    }

    #[test]
    fn multiplies_by_the_logarithm() {
        let text = vjp_text("Pow", "x=2.0 p[n,3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Log.0 = Log(x)
        Mul.1 = Mul(y, Log.0)
        Equal.2 = Equal(x, 0)
        Less.3 = Less(p, 0)
        Not.4 = Not(Less.3)
        And.5 = And(Equal.2, Not.4)
        Where.6 = Where(And.5, 0, Mul.1)
        Mul.7 = Mul(w, Where.6)
        p' = Mul.7
        ");
    }
}
