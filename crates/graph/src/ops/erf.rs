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
            // The factor as a summand of the exponent saves a pass over memory.
            let log_factor = e.number(std::f64::consts::FRAC_2_SQRT_PI.ln(), x)?;
            let square = e.op("Mul", &[x, x]);
            let exponent = e.op("Sub", &[&log_factor, &square]);
            let derivative = e.op("Exp", &[&exponent]);
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
        Sub.1 = Sub(0.12078224122524261, Mul.0)
        Exp.2 = Exp(Sub.1)
        Mul.3 = Mul(w, Exp.2)
        x' = Mul.3
        ");
    }
}
