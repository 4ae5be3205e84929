//! `x^p`, broadcast; the exponent may be of another type, integers included.
//!
//! The derivatives are `p x^(p - 1)`, 0 where `p = 0`, and `y log(x)`, 0 where `x = 0` and `p >= 0`.

use super::class::{broadcast, output};
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Tensor, Value};

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
