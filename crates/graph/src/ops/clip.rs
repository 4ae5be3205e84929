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
