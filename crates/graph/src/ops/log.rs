//! `log(x)`, whose derivative is `1 / x`.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Log`.
pub(super) struct Log;

impl Operator for Log {
    fn name(&self) -> &'static str {
        "Log"
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
        unary(node, cotangents, wanted, |x, _, w| Ok(e.op("Div", &[w, x])))
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn divides() {
        let text = vjp_text("Log", "x[n,3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Div.0 = Div(w, x)
        x' = Div.0
        ");
    }
}
