//! `x` where it is larger than `alpha`, else 0. At `alpha` the derivative is 0.

use super::class::unary;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `ThresholdedRelu`.
pub(super) struct ThresholdedRelu;

impl Operator for ThresholdedRelu {
    fn name(&self) -> &'static str {
        "ThresholdedRelu"
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
        let alpha = f64::from(node.float("alpha", 1.0)?);
        unary(node, cotangents, wanted, |x, _, w| {
            let dtype = e.dtype(x)?;
            let (zero, alpha) = (e.scalar(0.0, dtype), e.scalar(alpha, dtype));
            let passes = e.op("Greater", &[x, &alpha]);
            Ok(e.op("Where", &[&passes, w, &zero]))
        })
    }
}
