//! The smallest of any number of inputs, broadcast. Equal ones share the derivative evenly.

use super::max::extremum;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `Min`.
pub(super) struct Min;

impl Operator for Min {
    fn name(&self) -> &'static str {
        "Min"
    }

    fn class(&self) -> Class {
        Class::Monotone
    }

    fn vjp(
        &self,
        node: &Node,
        cotangents: &[Option<Value>],
        wanted: &[bool],
        e: &mut Emit<'_>,
    ) -> Rule<Vec<Option<Value>>> {
        extremum(node, cotangents, wanted, e)
    }
}
