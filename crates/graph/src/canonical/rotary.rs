//! `RotaryEmbedding`, written out.

use super::scope::Scope;
use crate::{Cause, Node, Rule, Tensor, Value};

/// At 23: pairs of numbers, each turned by an angle that grows with the place in the sequence. Inputs are
/// `[batch, heads, length, size]`, or `[batch, length, heads · size]` with the number of heads as an attribute.
pub(super) fn embedding(node: &mut Node, scope: &mut Scope<'_>) -> Rule<()> {
    let mut x = node.required(0)?.clone();
    let [cos, sin] = [1, 2].map(|i| node.required(i).cloned());
    let (heads, turned) = (node.int("num_heads", 0)?, node.int("rotary_embedding_dim", 0)?);
    let flat = heads != 0 && scope.of(Some(&x)).rank != Some(4);
    if heads < 0 || turned < 0 {
        return Err(Cause::Malformed("\"num_heads\" and \"rotary_embedding_dim\" are not negative".into()));
    }
    if flat {
        let target = scope.constant(node, "heads", Tensor::ints(&[0, 0, heads, -1]));
        x = scope.emit(node, "Reshape", &[&x, &target]);
    }
    // Neighbours are a pair, or numbers of the first and the second half.
    let (pairs, pair_axis) =
        if node.int("interleaved", 0)? == 0 { ([0, 0, 0, 2, -1], 3) } else { ([0, 0, 0, -1, 2], 4) };
    // One angle for each place and pair, the same for every head.
    let once = scope.constant(node, "once", Tensor::ints(&[if flat { 2 } else { 1 }, pair_axis]));
    let mut angle = |table: Value| {
        let row = node.input(3).map(|places| scope.emit(node, "Gather", &[&table, places])).unwrap_or(table);
        scope.emit(node, "Unsqueeze", &[&row, &once])
    };
    let (cos, sin) = (angle(cos?), angle(sin?));

    let mut part = |from: i64, to: i64| {
        let [from, to, last] =
            [("from", from), ("to", to), ("last", 3)].map(|(role, v)| scope.constant(node, role, Tensor::ints(&[v])));
        scope.emit(node, "Slice", &[&x, &from, &to, &last])
    };
    let (turning, rest) = if turned == 0 { (x, None) } else { (part(0, turned), Some(part(turned, i64::MAX))) };
    let pairs = scope.constant(node, "pairs", Tensor::ints(&pairs));
    let pairs = scope.emit(node, "Reshape", &[&turning, &pairs]);
    let [first, second] = [("first", 0), ("second", 1)].map(|(role, i)| {
        let index = scope.constant(node, role, Tensor::ints(&[i]));
        scope.emit_with(node, "Gather", &[&pairs, &index], &[("axis", pair_axis.into())])
    });
    let mut product = |a: &Value, b: &Value| scope.emit(node, "Mul", &[a, b]);
    let [a, b, c, d] = [product(&cos, &first), product(&sin, &second), product(&sin, &first), product(&cos, &second)];
    let (real, imaginary) = (scope.emit(node, "Sub", &[&a, &b]), scope.emit(node, "Add", &[&c, &d]));
    let both = scope.emit_with(node, "Concat", &[&real, &imaginary], &[("axis", pair_axis.into())]);
    let whole = scope.constant(node, "whole", Tensor::ints(&[0, 0, 0, -1]));
    let mut y = scope.emit(node, "Reshape", &[&both, &whole]);
    if let Some(rest) = rest {
        y = scope.emit_with(node, "Concat", &[&y, &rest], &[("axis", 3.into())]);
    }
    let target = scope.constant(node, "target", Tensor::ints(if flat { &[0, 0, -1] } else { &[0, 0, 0, -1] }));
    node.operator = "Reshape".into();
    node.inputs = vec![Some(y), Some(target)];
    node.attributes.clear();
    Ok(())
}
