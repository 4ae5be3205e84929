//! `a + b`, broadcast.

use super::class::unbroadcast;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Add`.
pub(super) struct Add;

impl Operator for Add {
    fn name(&self) -> &'static str {
        "Add"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        unbroadcast(node, input, y, e)
    }
}
