//! The smallest element over axes. Equal ones share the derivative evenly.

use super::reduce_max::extremum;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

/// The operator `ReduceMin`.
pub(super) struct ReduceMin;

impl Operator for ReduceMin {
    fn name(&self) -> &'static str {
        "ReduceMin"
    }

    fn class(&self) -> Class {
        Class::Opaque
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
