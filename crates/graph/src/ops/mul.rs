//! `a * b`, broadcast.

use super::class::unbroadcast;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Mul`.
pub(super) struct Mul;

impl Operator for Mul {
    fn name(&self) -> &'static str {
        "Mul"
    }

    fn class(&self) -> Class {
        Class::Bilinear
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let product = e.op("Mul", &[y, node.required(1 - input.min(1))?]);
        unbroadcast(node, input, &product, e)
    }
}
