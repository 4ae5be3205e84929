//! `-x`.

use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Neg`.
pub(super) struct Neg;

impl Operator for Neg {
    fn name(&self) -> &'static str {
        "Neg"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let _ = (node, input);
        Ok(e.op("Neg", &[y]))
    }
}
