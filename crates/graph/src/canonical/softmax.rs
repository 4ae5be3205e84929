//! `Softmax`, `LogSoftmax` and `Hardmax`.

use super::scope::Scope;
use crate::{Node, Rule};

/// At 13: before, the input was taken as a matrix whose columns are the dimensions from `axis` (default 1) on; since then
/// `axis` (default -1) alone is normalised. Both are the same for the last dimension.
pub(super) fn one_axis(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    let axis = node.int("axis", 1)?;
    let x = node.required(0)?.clone();
    let last = scope.of(Some(&x)).rank.and_then(|rank| i64::try_from(rank).ok()).map(|rank| rank - 1);
    if axis == -1 || Some(axis) == last {
        node.attributes.insert("axis".into(), (-1).into());
        return Ok(());
    }
    let matrix = scope.emit_with(node, "Flatten", &[&x], &[("axis", axis.into())]);
    let shape = scope.emit(node, "Shape", &[&x]);
    let y = scope.fresh(node, "matrix");
    let reshape =
        Node::new("Reshape", vec![Some(y.clone()), Some(shape)], std::mem::replace(&mut node.outputs, vec![Some(y)]));
    scope.after.push(Node { name: format!("{}/Reshape", node.name), ..reshape });
    node.inputs = vec![Some(matrix)];
    node.attributes.insert("axis".into(), (-1).into());
    Ok(())
}

/// Always: the axis is written out, as operators differ in its default.
pub(super) fn normal(node: &mut Node, _scope: &mut Scope<'_>) -> Rule<()> {
    let axis = node.int("axis", -1)?;
    node.attributes.insert("axis".into(), axis.into());
    Ok(())
}
