//! The mean of any number of inputs, broadcast.

use super::class::unbroadcast;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Mean`.
pub(super) struct Mean;

impl Operator for Mean {
    fn name(&self) -> &'static str {
        "Mean"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let summed = unbroadcast(node, input, y, e)?;
        #[allow(clippy::cast_precision_loss)]
        let share = e.scalar(1.0 / node.inputs.len() as f64, e.dtype(node.required(input)?)?);
        Ok(e.op("Mul", &[&summed, &share]))
    }
}
