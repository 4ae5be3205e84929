//! Attributes that became inputs, and an operator that changed its name.

use super::scope::{Scope, ints_to_input, set_input};
use crate::{Attribute, Cause, Node, Rule, Tensor};

/// `Squeeze`, `Unsqueeze` and `ReduceSum` at 13, the other reductions at 18: `axes`. No axes means all in both forms.
pub(super) fn axes(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    ints_to_input(node, scope, "axes", 1)
}

/// `Split` at 13: `split`.
pub(super) fn split(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    ints_to_input(node, scope, "split", 1)
}

/// `Split` at 18: without sizes, the number of equal parts is stated instead of counted.
pub(super) fn parts(node: &mut Node, _scope: &mut Scope<'_>) -> Rule<()> {
    if node.input(1).is_none() {
        let outputs = i64::try_from(node.outputs.len()).map_err(|_| Cause::Malformed("too many outputs".into()))?;
        node.attributes.insert("num_outputs".into(), outputs.into());
    }
    Ok(())
}

/// `Slice` at 10: `starts`, `ends`, `axes`.
pub(super) fn slice(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    for (position, name) in [(1, "starts"), (2, "ends"), (3, "axes")] {
        ints_to_input(node, scope, name, position)?;
    }
    Ok(())
}

/// `TopK` at 10: `k`.
pub(super) fn top_k(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    let k = node.int("k", -1)?;
    let k = scope.constant(node, "k", Tensor::ints(&[k]));
    set_input(node, 1, k);
    node.attributes.shift_remove("k");
    Ok(())
}

/// `Clip` at 11: `min` and `max`, of the element type of the input. An absent bound stays absent: its old default was the
/// end of f32's range.
pub(super) fn clip(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    for (position, name) in [(1, "min"), (2, "max")] {
        if node.attributes.contains_key(name) {
            scalar_to_input(node, scope, name, position)?;
        }
    }
    Ok(())
}

/// `Pad` at 11: `pads` and `value`. A value of zero is the default and stays away.
pub(super) fn pad(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    ints_to_input(node, scope, "pads", 1)?;
    if node.float("value", 0.0)? != 0.0 {
        scalar_to_input(node, scope, "value", 2)?;
    }
    node.attributes.shift_remove("value");
    Ok(())
}

/// `Upsample` at 9: `scales`.
pub(super) fn scales(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    let Some(Attribute::Floats(scales)) = node.attributes.shift_remove("scales") else {
        return Err(Cause::Malformed("attribute \"scales\" must be a list of floats".into()));
    };
    let scales = scope.constant(node, "scales", Tensor::floats(&[scales.len()], &scales));
    set_input(node, 1, scales);
    Ok(())
}

/// `Scatter` at 11: it is `ScatterElements` from then on.
pub(super) fn scatter(node: &mut Node, _scope: &mut Scope<'_>) -> Rule<()> {
    node.operator = "ScatterElements".into();
    Ok(())
}

fn scalar_to_input(node: &mut Node, scope: &mut Scope<'_>, name: &str, position: usize) -> Rule<()> {
    let value = f64::from(node.float(name, 0.0)?);
    let dtype = scope.dtype(node)?;
    let value = scope.constant(node, name, Tensor::scalar(dtype, value));
    set_input(node, position, value);
    node.attributes.shift_remove(name);
    Ok(())
}
