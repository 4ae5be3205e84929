//! `a` where the condition holds, else `b`, all broadcast.

use super::class::unbroadcast;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Where`.
pub(super) struct Where;

impl Operator for Where {
    fn name(&self) -> &'static str {
        "Where"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let zero = e.scalar(0.0, e.dtype(node.required(input)?)?);
        let branches = if input == 1 { [y, &zero] } else { [&zero, y] };
        let chosen = e.op("Where", &[node.required(0)?, branches[0], branches[1]]);
        unbroadcast(node, input, &chosen, e)
    }
}
