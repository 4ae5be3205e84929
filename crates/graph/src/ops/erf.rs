//! The error function, whose derivative is `2/√π exp(-x²)`.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Erf`.
pub(super) struct Erf;

impl Operator for Erf {
    fn name(&self) -> &'static str {
        "Erf"
    }

    fn class(&self) -> Class {
        Class::Monotone
    }

    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        unary(node, cotangents, wanted, |x, _, w| {
            let scale = e.scalar(std::f64::consts::FRAC_2_SQRT_PI, e.dtype(x)?);
            let square = e.op("Mul", &[x, x]);
            let minus = e.op("Neg", &[&square]);
            let exp = e.op("Exp", &[&minus]);
            let derivative = e.op("Mul", &[&exp, &scale]);
            Ok(e.op("Mul", &[w, &derivative]))
        })
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn is_a_bell() {
        let text = vjp_text("Erf", "x[n,3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Mul.0 = Mul(x, x)
        Neg.1 = Neg(Mul.0)
        Exp.2 = Exp(Neg.1)
        Mul.3 = Mul(Exp.2, 1.128379225730896)
        Mul.4 = Mul(w, Mul.3)
        x' = Mul.4
        ");
    }
}
