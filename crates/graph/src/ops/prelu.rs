//! `x` where it is positive, else `slope x`, with the slope broadcast to `x`. At 0 the derivative is the slope.

use super::class::broadcast;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `PRelu`.
pub(super) struct PRelu;

impl Operator for PRelu {
    fn name(&self) -> &'static str {
        "PRelu"
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
        let (x, slope) = (node.required(0)?, node.required(1)?);
        let dtype = e.dtype(x)?;
        let zero = e.scalar(0.0, dtype);
        broadcast(node, cotangents, wanted, e, |input, w, e| {
            let derivative = if input == 0 {
                let one = e.scalar(1.0, dtype);
                let mask = e.op("Greater", &[x, &zero]);
                e.op("Where", &[&mask, &one, slope])
            } else {
                e.op("Min", &[x, &zero])
            };
            Ok(e.op("Mul", &[w, &derivative]))
        })
    }

    fn uniform(&self, _: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        match *inputs {
            [Some(x), _] if x >= 0.0 => Some(x),
            [Some(x), Some(slope)] => Some(slope * x),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn chooses_the_slope() {
        let text = vjp_text("PRelu", "x[n,3] slope=[0.25,0.5,0.75] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Greater.0 = Greater(x, 0)
        Where.1 = Where(Greater.0, 1, slope)
        Mul.2 = Mul(w, Where.1)
        x' = Mul.2
        ");
    }
}
