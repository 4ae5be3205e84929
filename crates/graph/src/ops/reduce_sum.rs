//! The sum over axes.

use super::reduction::Reduction;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `ReduceSum`.
pub(super) struct ReduceSum;

impl Operator for ReduceSum {
    fn name(&self) -> &'static str {
        "ReduceSum"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let x = node.required(input)?;
        let reduction = Reduction::of(node, e)?;
        let kept = reduction.keep(y, e);
        e.expand(&kept, &reduction.kept, x)
    }
}
