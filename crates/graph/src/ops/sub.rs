//! `a - b`, broadcast.

use super::class::unbroadcast;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

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
}
