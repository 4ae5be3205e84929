//! `Slice`: every `step`-th element from `start` to before `end`, along some axes. <https://onnx.ai/onnx/operators/onnx__Slice.html>

use super::class::output;
use super::inputs::{axis, int, ints, size};
use super::select::transpose_selection;
use super::{Class, Operator};
use crate::{Cause, Channels, Emit, Node, Pruned, Rule, Value};

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
        let names = ["data", "starts", "ends", "axes", "steps"];
        let cuts =
            cuts(node, x_dims.len(), |input| if input == 2 { Ok(None) } else { ints(node, input, names[input], e) })?;
        let mut y = y.clone();
        for Cut { axis, start, step, .. } in cuts {
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

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        let (x, y) = (node.required(0)?, output(node)?);
        let (x_dims, y_dims) = (c.dims(x)?, c.dims(y)?);
        let cuts = cuts(node, x_dims.len(), |input| c.ints(node, input))?;
        for axis in 0..x_dims.len() {
            match cuts.iter().find(|cut| cut.axis == axis) {
                Some(cut) if x_dims[axis] != y_dims[axis] || cut.step != 1 => {
                    if cut.step != 1 {
                        c.fix(x, axis, "it takes every so many positions");
                    }
                    let reads = reads(cut.start, cut.step, size(x_dims, axis)?, size(y_dims, axis)?)?;
                    reads.into_iter().enumerate().for_each(|(to, from)| c.tie((x, axis, from), (y, axis, to)));
                }
                _ => c.carry(x, axis, y, axis),
            }
        }
        Ok(())
    }

    /// What is read of an axis with a step of 1 stays in one piece.
    fn pruned(&self, node: &mut Node, p: &mut Pruned<'_>) -> Rule<()> {
        let (x, y) = (node.required(0)?.clone(), output(node)?.clone());
        let (x_dims, y_dims) = (p.dims(&x)?, p.dims(&y)?);
        let cuts = cuts(node, x_dims.len(), |input| Ok(p.ints(node, input)))?;
        let (mut starts, mut ends): (Vec<i64>, Vec<i64>) = cuts.iter().map(|cut| (cut.start, cut.end)).unzip();
        for (i, cut) in cuts.iter().enumerate().filter(|(_, cut)| x_dims[cut.axis] != y_dims[cut.axis]) {
            if let Some(kept) = p.kept(&x, cut.axis) {
                let before = reads(cut.start, cut.step, size(x_dims, cut.axis)?, 1)?[0];
                let start = kept.iter().filter(|&&position| position < before).count();
                let count = p.size(&y, cut.axis)?.unwrap_or(0);
                (starts[i], ends[i]) = (int(start), int(start + count));
            }
        }
        p.set_ints(node, 1, &starts)?;
        p.set_ints(node, 2, &ends)
    }
}

/// What a slice reads of one axis.
struct Cut {
    axis: usize,
    start: i64,
    end: i64,
    step: i64,
}

/// The axes that a slice states, of a tensor with `rank` of them; `ints` gives its constant inputs. An end that is not known is
/// the end of the axis.
fn cuts(node: &Node, rank: usize, ints: impl Fn(usize) -> Rule<Option<Vec<i64>>>) -> Rule<Vec<Cut>> {
    node.required(1)?;
    let starts = ints(1)?.ok_or_else(|| Cause::Unsupported("computed starts".into()))?;
    let ends = ints(2)?.unwrap_or_else(|| vec![i64::MAX; starts.len()]);
    let axes = ints(3)?.unwrap_or_else(|| (0..int(starts.len())).collect());
    let steps = ints(4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(Cause::Malformed(format!(
            "{} starts, {} ends, {} axes and {} steps: their numbers must be equal",
            starts.len(),
            ends.len(),
            axes.len(),
            steps.len()
        )));
    }
    let cuts = starts.into_iter().zip(ends).zip(axes).zip(steps);
    cuts.map(|(((start, end), stated), step)| Ok(Cut { axis: axis(stated, rank)?, start, end, step })).collect()
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
