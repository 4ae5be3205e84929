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

/// The gradient of an operator whose first input alone is differentiable: `rule` makes the product from the cotangent of
/// the first output.
pub(super) fn of_first(
    cotangents: &[Option<Value>],
    wanted: &[bool],
    rule: impl FnOnce(&Value) -> Rule<Value>,
) -> Rule<Vec<Option<Value>>> {
    let mut products = vec![None; wanted.len()];
    if let (Some(y), Some(true), Some(first)) =
        (cotangents.first().and_then(Option::as_ref), wanted.first(), products.first_mut())
    {
        *first = Some(rule(y)?);
    }
    Ok(products)
}
