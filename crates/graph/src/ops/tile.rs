//! `Tile`: copies side by side. <https://onnx.ai/onnx/operators/onnx__Tile.html>

use super::class::output;
use super::inputs::{int, ints};
use super::{Class, Operator};
use crate::{Cause, Channels, Dim, Emit, Node, Rule, Value};

/// Inputs: data, repeats along each axis.
#[derive(Debug)]
pub(super) struct Tile;

impl Operator for Tile {
    fn name(&self) -> &'static str {
        "Tile"
    }

    fn class(&self) -> Class {
        Class::ShapeOnly
    }

    fn refused(&self) -> &'static str {
        "computed repeats"
    }

    /// The sum over the copies: an axis of `r` copies of `d` elements is `[r, d]` in row-major order.
    fn transpose(&self, node: &Node, _: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let dims = e.dims(node.required(0)?)?;
        let repeats =
            ints(node, 1, "repeats", e)?.ok_or_else(|| Cause::Malformed("input \"repeats\" is required".into()))?;
        if repeats.len() != dims.len() {
            return Err(Cause::Malformed(format!("{} repeats for {} axes", repeats.len(), dims.len())));
        }
        let (mut split, mut copies) = (Vec::new(), Vec::new());
        for (&repeat, &dim) in repeats.iter().zip(dims) {
            if repeat != 1 {
                copies.push(int(split.len()));
                let repeat = usize::try_from(repeat).map_err(|_| Cause::Malformed(format!("{repeat} repeats")))?;
                split.push(Dim::Fixed(repeat));
            }
            split.push(dim);
        }
        if copies.is_empty() {
            return Ok(y.clone());
        }
        let y = e.reshape(y, &split)?;
        let copies = e.ints(&copies);
        Ok(e.op_with("ReduceSum", &[&y, &copies], [("keepdims", 0.into())]))
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        let (from, to) = (c.dims(node.required(0)?)?, c.dims(output(node)?)?);
        c.all_but(node, |axis| from[axis] != to[axis], "it is repeated")
    }
}
