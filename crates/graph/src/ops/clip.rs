//! `min(max(x, low), high)`, either bound absent. At a bound the derivative is 1.

use super::class::unary;
use super::{Class, Operator};
use crate::{Cause, DataType, Emit, Node, Rule, Value};

/// The operator `Clip`.
pub(super) struct Clip;

impl Operator for Clip {
    fn name(&self) -> &'static str {
        "Clip"
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
        if wanted.iter().skip(1).any(|&w| w) {
            return Err(Cause::Unsupported("a bound that depends on the input; bounds must be constants".into()));
        }
        unary(node, cotangents, wanted, |x, y, w| {
            // What is not clipped comes out as it went in.
            let kept = e.op("Equal", &[x, y]);
            let mask = e.cast(&kept, DataType::Bool, e.dtype(x)?);
            Ok(e.op("Mul", &[w, &mask]))
        })
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn passes_what_is_not_clipped() {
        let text = vjp_text("Clip", "x[n,3] low=0.0 high=6.0 -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Equal.0 = Equal(x, y)
        Cast.1 = Cast(Equal.0) to=1
        Mul.2 = Mul(w, Cast.1)
        x' = Mul.2
        ");
    }

    #[test]
    fn refuses_a_bound_that_is_computed() {
        let text = vjp_text("Clip", "x[n,3] _ high[] -> y[n,3]", &[]);
        assert_snapshot!(text, @r#"vjp: node "node" (Clip): unsupported: a bound that depends on the input; bounds must be constants"#);
    }
}
