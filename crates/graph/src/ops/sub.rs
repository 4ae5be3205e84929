//! `a - b`, broadcast.

use super::class::unbroadcast;
use super::{Class, Operator};
use crate::{Cause, Channels, Emit, Interval, Node, Rule, Value};

/// The operator `Sub`.
pub(super) struct Sub;

impl Operator for Sub {
    fn name(&self) -> &'static str {
        "Sub"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        if input == 0 {
            return unbroadcast(node, input, y, e);
        }
        let minus = e.op("Neg", &[y]);
        unbroadcast(node, input, &minus, e)
    }

    fn interval(&self, node: &Node, x: &[Option<Interval>], e: &mut Emit<'_>) -> Rule<Interval> {
        let [a, b] = x else { return Err(Cause::NoRule) };
        let mut ends = |a_end: fn(&Interval) -> &Value, b_end: fn(&Interval) -> &Value| -> Rule<Value> {
            let a = a.as_ref().map_or_else(|| node.required(0), |a| Ok(a_end(a)))?;
            let b = b.as_ref().map_or_else(|| node.required(1), |b| Ok(b_end(b)))?;
            Ok(e.op("Sub", &[a, b]))
        };
        Ok(Interval { lower: ends(|a| &a.lower, |b| &b.upper)?, upper: ends(|a| &a.upper, |b| &b.lower)? })
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        c.terms(node)
    }

    fn uniform(&self, _: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        let &[Some(a), Some(b)] = inputs else { return None };
        Some(a - b)
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn changes_sign_on_the_right() {
        let text = vjp_text("Sub", "a[n,3] b[n,3] -> y[n,3]", &[]);
        assert_snapshot!(text, @"
        Neg.0 = Neg(w)
        vjp/Identity.1 = Identity(w)
        a' = vjp/Identity.1
        b' = Neg.0
        ");
    }
}
