//! `Pad`: elements added around a tensor, or removed where a pad is negative. <https://onnx.ai/onnx/operators/onnx__Pad.html>
//!
//! In every mode the negative pads crop first, and what is left is then padded.

use super::class::{increasing, output};
use super::inputs::{axis, int, ints, pad, size};
use super::select::transpose_selection;
use super::{Class, Operator};
use crate::{Cause, Channels, Emit, Interval, Node, Rule, Value};

/// Inputs: data, pads, the constant to pad with, axes (default: all).
#[derive(Debug)]
pub(super) struct Pad;

impl Operator for Pad {
    fn name(&self) -> &'static str {
        "Pad"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    fn refused(&self) -> &'static str {
        "by the constant to pad with; computed pads"
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        if input != 0 {
            return Err(Cause::Unsupported("the derivative with respect to the constant to pad with".into()));
        }
        let x_dims = e.dims(node.required(0)?)?;
        let amounts = amounts(x_dims.len(), |input| ints(node, input, if input == 1 { "pads" } else { "axes" }, e))?;
        let mode = Mode::of(node.text("mode", "constant")?)?;
        let Mode::Copy(source) = mode else {
            let back: Vec<(i64, i64)> = amounts.iter().map(|&(begin, end)| (-begin, -end)).collect();
            return Ok(pad(y, &back, e));
        };
        let output = output(node)?;
        let mut dims = e.dims(output)?.to_vec();
        let mut y = y.clone();
        for (axis, &amounts) in amounts.iter().enumerate().filter(|&(_, &a)| a != (0, 0)) {
            let input = size(x_dims, axis)?;
            let reads = reads(amounts, input, source)?;
            y = transpose_selection(&y, &dims, axis, &reads, input, e)?;
            dims[axis] = x_dims[axis];
        }
        Ok(y)
    }

    fn interval(&self, node: &Node, x: &[Option<Interval>], e: &mut Emit<'_>) -> Rule<Interval> {
        Ok(increasing(node, x, e))
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        let (x, y) = (node.required(0)?, output(node)?);
        let rank = c.dims(x)?.len();
        let copies = matches!(Mode::of(node.text("mode", "constant")?)?, Mode::Copy(_));
        for (axis, (begin, end)) in amounts(rank, |input| c.ints(node, input))?.into_iter().enumerate() {
            match (usize::try_from(begin), usize::try_from(end)) {
                (Ok(0), Ok(0)) => c.carry(x, axis, y, axis),
                (Ok(begin), Ok(_)) if !copies => {
                    let size = c.size(x, axis)?;
                    (0..size).for_each(|i| c.tie((x, axis, i), (y, axis, begin + i)));
                    for i in (0..c.size(y, axis)?).filter(|i| !(begin..begin + size).contains(i)) {
                        c.fix_at(y, axis, i, "it is padding");
                    }
                }
                _ => {
                    c.fix(x, axis, "it is padded with copies, or cropped");
                    c.fix(y, axis, "it is padded with copies, or cropped");
                }
            }
        }
        Ok(())
    }

    fn uniform(&self, node: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        let x = inputs.first().copied()??;
        let with = if node.input(2).is_some() { inputs[2] } else { Some(0.0) };
        (node.text("mode", "constant").ok()? != "constant" || with == Some(x)).then_some(x)
    }
}

/// What fills the padding.
enum Mode {
    Constant,
    /// Copies: position `p`, possibly outside of `0..n`, has the element at the position returned.
    Copy(fn(p: i64, n: i64) -> i64),
}

impl Mode {
    fn of(text: &str) -> Rule<Self> {
        match text {
            "constant" => Ok(Self::Constant),
            "edge" => Ok(Self::Copy(|p, n| p.clamp(0, n - 1))),
            "reflect" => Ok(Self::Copy(|p, n| {
                let period = (2 * (n - 1)).max(1);
                let p = p.rem_euclid(period);
                p.min(period - p)
            })),
            other => Err(Cause::Malformed(format!("attribute \"mode\" is \"{other}\""))),
        }
    }
}

/// Pads before and after each axis.
fn amounts(rank: usize, ints: impl Fn(usize) -> Rule<Option<Vec<i64>>>) -> Rule<Vec<(i64, i64)>> {
    let pads = ints(1)?.ok_or_else(|| Cause::Malformed("input \"pads\" is required".into()))?;
    let axes = ints(3)?.unwrap_or_else(|| (0..int(rank)).collect());
    if pads.len() != 2 * axes.len() {
        return Err(Cause::Malformed(format!("{} pads for {} axes: two for each", pads.len(), axes.len())));
    }
    let (begins, ends) = pads.split_at(axes.len());
    let mut amounts = vec![(0, 0); rank];
    for ((&stated, &begin), &end) in axes.iter().zip(begins).zip(ends) {
        if begin.unsigned_abs().max(end.unsigned_abs()) > u64::from(u32::MAX) {
            return Err(Cause::Malformed(format!("pads {begin} and {end}")));
        }
        amounts[axis(stated, rank)?] = (begin, end);
    }
    Ok(amounts)
}

/// The position of an axis with `input` elements that each element of the padded axis copies.
///
/// # Errors
/// The pads crop everything.
fn reads((begin, end): (i64, i64), input: usize, source: fn(i64, i64) -> i64) -> Rule<Vec<usize>> {
    let cropped = (-begin).max(0);
    let left = int(input) - cropped - (-end).max(0);
    if left <= 0 {
        return Err(Cause::Malformed(format!("pads {begin} and {end} leave nothing of an axis of {input}")));
    }
    (-begin.max(0)..left + end.max(0))
        .map(|p| usize::try_from(cropped + source(p, left)))
        .collect::<Result<_, _>>()
        .map_err(|_| Cause::Malformed(format!("pads {begin} and {end} of an axis of {input}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ONNX Runtime 1.31 returns for the axis 0, 1, 2, 3, 4.
    #[test]
    fn modes_crop_first_and_copy_what_is_left() {
        let cases: [(&str, (i64, i64), &[usize]); 6] = [
            ("reflect", (2, 1), &[2, 1, 0, 1, 2, 3, 4, 3]),
            ("reflect", (-1, 2), &[1, 2, 3, 4, 3, 2]),
            ("reflect", (4, 0), &[4, 3, 2, 1, 0, 1, 2, 3, 4]),
            ("edge", (2, -1), &[0, 0, 0, 1, 2, 3]),
            ("edge", (-3, 3), &[3, 4, 4, 4, 4]),
            ("edge", (-2, -1), &[2, 3]),
        ];
        for (mode, amounts, expected) in cases {
            let Mode::Copy(source) = Mode::of(mode).unwrap() else { panic!("{mode} copies") };
            assert_eq!(reads(amounts, 5, source).unwrap(), expected, "{mode} {amounts:?}");
        }
        let Mode::Copy(edge) = Mode::of("edge").unwrap() else { panic!("edge copies") };
        assert!(reads((-3, -2), 5, edge).is_err());
        assert!(Mode::of("mirror").is_err());
    }
}
