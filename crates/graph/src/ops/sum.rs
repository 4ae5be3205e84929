//! The sum of any number of inputs, broadcast.

use super::class::unbroadcast;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Sum`.
pub(super) struct Sum;

impl Operator for Sum {
    fn name(&self) -> &'static str {
        "Sum"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        unbroadcast(node, input, y, e)
    }
}
