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
