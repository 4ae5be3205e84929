//! `x Φ(x)` with the normal distribution `Φ`, or with its approximation by a hyperbolic tangent.

use super::class::unary;
use super::{Class, Operator};
use crate::{Cause, Emit, Node, Rule, Value};

/// The operator `Gelu`.
pub(super) struct Gelu;

impl Operator for Gelu {
    fn name(&self) -> &'static str {
        "Gelu"
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
        let approximate = node.text("approximate", "none")?;
        unary(node, cotangents, wanted, |x, _, w| {
            let derivative = match approximate {
                "none" => exact(x, e)?,
                "tanh" => by_tanh(x, e)?,
                other => {
                    return Err(Cause::Malformed(format!(
                        "attribute \"approximate\" must be \"none\" or \"tanh\", this is \"{other}\""
                    )));
                }
            };
            Ok(e.op("Mul", &[w, &derivative]))
        })
    }
}

/// `Φ(x) + x φ(x)`, `φ` being the normal density.
fn exact(x: &Value, e: &mut Emit<'_>) -> Rule<Value> {
    use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
    let dtype = e.dtype(x)?;
    let (root, half, one) = (e.scalar(FRAC_1_SQRT_2, dtype), e.scalar(0.5, dtype), e.scalar(1.0, dtype));
    let scaled = e.op("Mul", &[x, &root]);
    let erf = e.op("Erf", &[&scaled]);
    let above = e.op("Add", &[&erf, &one]);
    let distribution = e.op("Mul", &[&above, &half]);

    let square = e.op("Mul", &[&scaled, &scaled]);
    let minus = e.op("Neg", &[&square]);
    let exp = e.op("Exp", &[&minus]);
    let norm = e.scalar(0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2, dtype);
    let density = e.op("Mul", &[&exp, &norm]);
    let second = e.op("Mul", &[x, &density]);
    Ok(e.op("Add", &[&distribution, &second]))
}

/// With `y = x (1 + t) / 2`, `t = tanh(u)`, `u = √(2/π) (x + c x³)`: `(1 + t) / 2 + x (1 - t²) u' / 2`.
fn by_tanh(x: &Value, e: &mut Emit<'_>) -> Rule<Value> {
    use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
    const CUBIC: f64 = 0.044_715;
    const RATE: f64 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
    let dtype = e.dtype(x)?;
    let (half, one, rate) = (e.scalar(0.5, dtype), e.scalar(1.0, dtype), e.scalar(RATE, dtype));
    let square = e.op("Mul", &[x, x]);
    let (c, c3) = (e.scalar(RATE * CUBIC, dtype), e.scalar(3.0 * RATE * CUBIC, dtype));
    let cubic = e.op("Mul", &[&square, &c]);
    let factor = e.op("Add", &[&cubic, &rate]);
    let u = e.op("Mul", &[x, &factor]);
    let t = e.op("Tanh", &[&u]);
    let above = e.op("Add", &[&t, &one]);

    let triple = e.op("Mul", &[&square, &c3]);
    let u_slope = e.op("Add", &[&triple, &rate]);
    let t_square = e.op("Mul", &[&t, &t]);
    let rest = e.op("Sub", &[&one, &t_square]);
    let inner = e.op("Mul", &[&rest, &u_slope]);
    let second = e.op("Mul", &[x, &inner]);
    let sum = e.op("Add", &[&above, &second]);
    Ok(e.op("Mul", &[&sum, &half]))
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn adds_distribution_and_density() {
        let text = vjp_text("Gelu", "x[n,3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Mul.0 = Mul(x, 0.7071067690849304)
        Erf.1 = Erf(Mul.0)
        Add.2 = Add(Erf.1, 1)
        Mul.3 = Mul(Add.2, 0.5)
        Mul.4 = Mul(Mul.0, Mul.0)
        Neg.5 = Neg(Mul.4)
        Exp.6 = Exp(Neg.5)
        Mul.7 = Mul(Exp.6, 0.3989422917366028)
        Mul.8 = Mul(x, Mul.7)
        Add.9 = Add(Mul.3, Mul.8)
        Mul.10 = Mul(w, Add.9)
        x' = Mul.10
        ");
    }

    #[test]
    fn refuses_an_unknown_approximation() {
        let text = vjp_text("Gelu", "x[n,3] -> y[n,3]", &[("approximate", "sigmoid".into())]);
        assert_snapshot!(text, @r#"vjp: node "node" (Gelu): malformed: attribute "approximate" must be "none" or "tanh", this is "sigmoid""#);
    }
}
