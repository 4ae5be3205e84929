//! The mean over axes.

use super::reduction::Reduction;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `ReduceMean`.
pub(super) struct ReduceMean;

impl Operator for ReduceMean {
    fn name(&self) -> &'static str {
        "ReduceMean"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let x = node.required(input)?;
        let reduction = Reduction::of(node, e)?;
        let kept = reduction.keep(y, e);
        let share = e.scalar(1.0 / reduction.count(x, e)?, e.dtype(x)?);
        let shared = e.op("Mul", &[&kept, &share]);
        e.expand(&shared, &reduction.kept, x)
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn repeats_shares() {
        let text = vjp_text("ReduceMean", "x[n,3,4] axes=[1,2] -> y[n,1,1]", &[]);
        assert_snapshot!(text, @"
        Mul.0 = Mul(w, 0.0833333358168602)
        Expand.1 = Expand(Mul.0, [1, 3, 4])
        x' = Expand.1
        ");
    }

    #[test]
    fn refuses_the_mean_over_a_batch() {
        let text = vjp_text("ReduceMean", "x[n,3] -> y[1,1]", &[]);
        assert_snapshot!(text, @r#"vjp: node "node" (ReduceMean): unsupported: a mean over the samples of a batch"#);
    }
}
