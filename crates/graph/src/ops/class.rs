//! The rules that follow from an operator's class alone.

use super::{Class, Operator};
use crate::error::no_rule;
use crate::{Emit, Node, Rule, Value};

/// The gradient of an operator that is linear in each input: its transpose, input by input.
pub(super) fn vjp<O: Operator + ?Sized>(
    operator: &O,
    node: &Node,
    cotangents: &[Option<Value>],
    wanted: &[bool],
    e: &mut Emit<'_>,
) -> Rule<Vec<Option<Value>>> {
    if !matches!(operator.class(), Class::ShapeOnly | Class::Linear | Class::Bilinear) {
        return Err(no_rule(node));
    }
    let Some(y) = cotangents.first().and_then(Option::as_ref) else {
        return Ok(vec![None; wanted.len()]);
    };
    wanted
        .iter()
        .enumerate()
        .map(|(input, &wanted)| if wanted { operator.transpose(node, input, y, e).map(Some) } else { Ok(None) })
        .collect()
}
