//! `Slice`: every `step`-th element from `start` to before `end`, along some axes. <https://onnx.ai/onnx/operators/onnx__Slice.html>

use super::class::output;
use super::inputs::{axis, int, ints, size};
use super::select::transpose_selection;
use super::{Class, Operator};
use crate::{Cause, Emit, Node, Rule, Value};

/// Inputs: data, starts, ends, axes (default: the first ones), steps (default: 1).
#[derive(Debug)]
pub(super) struct Slice;

impl Operator for Slice {
    fn name(&self) -> &'static str {
        "Slice"
    }

    fn class(&self) -> Class {
        Class::ShapeOnly
    }

    fn refused(&self) -> &'static str {
        "computed starts, axes and steps; a part of the batch"
    }

    fn transpose(&self, node: &Node, _: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let output = output(node)?;
        let (x_dims, mut dims) = (e.dims(node.required(0)?)?, e.dims(output)?.to_vec());
        let missing = |name: &str| Cause::Malformed(format!("input \"{name}\" is required"));
        let starts = ints(node, 1, "starts", e)?.ok_or_else(|| missing("starts"))?;
        let axes = ints(node, 3, "axes", e)?.unwrap_or_else(|| (0..int(starts.len())).collect());
        let steps = ints(node, 4, "steps", e)?.unwrap_or_else(|| vec![1; starts.len()]);
        if axes.len() != starts.len() || steps.len() != starts.len() {
            return Err(Cause::Malformed(format!(
                "{} starts, {} axes and {} steps: their numbers must be equal",
                starts.len(),
                axes.len(),
                steps.len()
            )));
        }
        let mut y = y.clone();
        for ((&start, &stated), &step) in starts.iter().zip(&axes).zip(&steps) {
            let axis = axis(stated, x_dims.len())?;
            if dims[axis] == x_dims[axis] && step == 1 {
                continue;
            }
            let input = size(x_dims, axis)?;
            let reads = reads(start, step, input, size(&dims, axis)?)?;
            y = transpose_selection(&y, &dims, axis, &reads, input, e)?;
            dims[axis] = x_dims[axis];
        }
        Ok(y)
    }
}

/// The `count` positions that a slice with `start` and `step` reads of an axis with `input` elements.
///
/// # Errors
/// One of them does not exist: the slice does not have `count` elements.
fn reads(start: i64, step: i64, input: usize, count: usize) -> Rule<Vec<usize>> {
    let size = int(input);
    let counted = if start < 0 { start.saturating_add(size) } else { start };
    // The specification's clamps: a backward slice starts at the last element at most.
    let first = if step < 0 { counted.clamp(0, (size - 1).max(0)) } else { counted.clamp(0, size) };
    (0..int(count))
        .map(|o| {
            let position = o.checked_mul(step).and_then(|o| o.checked_add(first));
            position.and_then(|p| usize::try_from(p).ok()).filter(|&p| p < input).ok_or_else(|| {
                Cause::Malformed(format!("{count} elements from {start} in steps of {step} of an axis of {input}"))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_clamped_as_the_specification_says() {
        let cases: [(i64, i64, usize, &[usize]); 7] = [
            (1, 1, 4, &[1, 2, 3]),
            (-3, 2, 4, &[1, 3]),
            (-9, 1, 4, &[0, 1]),
            (9, -1, 4, &[3, 2, 1, 0]), // starts beyond the end: at the last element
            (-1, -2, 5, &[4, 2, 0]),
            (i64::MAX, -3, 5, &[4, 1]),
            (7, 1, 4, &[]),
        ];
        for (start, step, input, expected) in cases {
            assert_eq!(reads(start, step, input, expected.len()).unwrap(), expected, "{start} by {step} of {input}");
        }
        assert!(reads(2, 1, 4, 3).is_err());
        assert!(reads(1, i64::MAX, 4, 3).is_err());
    }
}
