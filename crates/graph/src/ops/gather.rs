//! `Gather`: chosen elements along an axis. <https://onnx.ai/onnx/operators/onnx__Gather.html>

use super::class::output;
use super::inputs::{axis, int, product, size, zeros_like};
use super::select::transpose_selection;
use super::{Class, Operator};
use crate::{Cause, Channels, Dim, Emit, Node, Pruned, Rule, Tensor, Value};

/// Inputs: data, indices.
#[derive(Debug)]
pub(super) struct Gather;

impl Operator for Gather {
    fn name(&self) -> &'static str {
        "Gather"
    }

    fn class(&self) -> Class {
        Class::ShapeOnly
    }

    fn transpose(&self, node: &Node, _: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let (x, indices) = (node.required(0)?, node.required(1)?);
        let x_dims = e.dims(x)?;
        let at = axis(node.int("axis", 0)?, x_dims.len())?;
        // The axes of the indices as one, whatever their number.
        let count = product(e.dims(indices)?)?;
        let mut dims = x_dims.to_vec();
        dims[at] = count;
        let y = if e.dims(indices)?.len() == 1 { y.clone() } else { e.reshape(y, &dims)? };
        let Some(constant) = e.constant(indices).and_then(Tensor::to_i64) else {
            return scattered(node, &y, &dims, at, e);
        };
        let input = size(x_dims, at)?;
        let reads: Vec<usize> =
            constant.iter().map(|&i| axis(i, input)).collect::<Rule<_>>().map_err(|_| {
                Cause::Malformed(format!("indices must lie in -{input}..{input}, these are {constant:?}"))
            })?;
        transpose_selection(&y, &dims, at, &reads, input, e)
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        let (x, indices, y) = (node.required(0)?, node.required(1)?, output(node)?);
        let (rank, of_indices) = (c.dims(x)?.len(), c.dims(indices)?.len());
        let at = axis(node.int("axis", 0)?, rank)?;
        for axis in (0..rank).filter(|&axis| axis != at) {
            c.carry(x, axis, y, if axis < at { axis } else { axis + of_indices - 1 });
        }
        if c.is_computed(indices) {
            c.fix(x, at, "which positions it takes depends on the input");
            (0..of_indices).for_each(|axis| c.carry(indices, axis, y, at + axis));
            return Ok(());
        }
        let size = c.size(x, at)?;
        for (to, &index) in c.ints(node, 1)?.unwrap_or_default().iter().enumerate() {
            let from = axis(index, size)?;
            match of_indices {
                1 => c.tie((x, at, from), (y, at, to)),
                _ => c.fix_at(x, at, from, "it is taken on its own"),
            }
        }
        if of_indices > 1 {
            (at..at + of_indices).for_each(|axis| c.fix(y, axis, "its positions are taken one by one"));
        }
        c.free(x, at);
        Ok(())
    }

    /// Positions are counted anew.
    fn pruned(&self, node: &mut Node, p: &mut Pruned<'_>) -> Rule<()> {
        let (x, y) = (node.required(0)?, output(node)?);
        let at = axis(node.int("axis", 0)?, p.dims(x)?.len())?;
        let Some(indices) = p.ints(node, 1).filter(|_| p.kept(x, at).is_some()) else { return Ok(()) };
        let size = p.before(x, at)?;
        let kept = p.kept(x, at).unwrap_or_default();
        let taken: Vec<i64> = match p.kept(y, at).filter(|_| indices.len() > 1) {
            Some(of_output) => of_output.iter().filter_map(|&i| indices.get(i).copied()).collect(),
            None => indices,
        };
        let renumbered = taken.iter().map(|&index| {
            let from = axis(index, size)?;
            let to = kept.binary_search(&from);
            to.map(int).map_err(|_| Cause::Malformed(format!("position {from}, which it takes, is gone")))
        });
        let renumbered: Vec<i64> = renumbered.collect::<Rule<_>>()?;
        p.set_ints(node, 1, &renumbered)
    }
}

/// `y`, of shape `dims`, added up where computed indices say, along the axis `at`.
fn scattered(node: &Node, y: &Value, dims: &[Dim], at: usize, e: &mut Emit<'_>) -> Rule<Value> {
    let zeros = zeros_like(node.required(0)?, e)?;
    let along: Vec<Dim> = (0..dims.len()).map(|a| if a == at { dims[at] } else { Dim::Fixed(1) }).collect();
    let indices = e.reshape(node.required(1)?, &along)?;
    let shape = e.op("Shape", &[y]);
    let indices = e.op("Expand", &[&indices, &shape]);
    Ok(e.op_with("ScatterElements", &[&zeros, &indices, y], [("axis", int(at).into()), ("reduction", "add".into())]))
}
