//! What the reductions have in common: their axes, and the shape before and after.

use super::class::output;
use super::inputs::{axis, int};
use crate::{Cause, Channels, DataType, Dim, Emit, Node, Rule, Value};

/// The axes of a reduction.
pub(super) struct Reduction {
    /// The reduced axes, none of them negative. Empty if nothing is reduced.
    pub(super) axes: Vec<i64>,
    /// The input's shape with each reduced axis of size 1.
    pub(super) kept: Vec<Dim>,
    /// Whether the output has lost the reduced axes.
    dropped: bool,
}

impl Reduction {
    /// That of `node`: input 1 holds the axes, absent or empty for all of them, or for none if the node says so.
    pub(super) fn of(node: &Node, e: &Emit<'_>) -> Rule<Self> {
        let dims = e.dims(node.required(0)?)?;
        let given = match node.input(1) {
            None => Vec::new(),
            Some(axes) => e.constant(axes).and_then(crate::Tensor::to_i64).ok_or_else(|| {
                Cause::Unsupported(format!("the axes \"{axes}\" depend on the input; they must be constant"))
            })?,
        };
        let axes = reduced(node, &given, dims.len())?;
        let size = |(i, d): (i64, &Dim)| if axes.contains(&i) { Dim::Fixed(1) } else { *d };
        let kept = (0..).zip(dims).map(size).collect();
        Ok(Self { dropped: node.int("keepdims", 1)? == 0 && !axes.is_empty(), axes, kept })
    }

    /// `value`, of the output's shape, with the reduced axes of size 1.
    pub(super) fn keep(&self, value: &Value, e: &mut Emit<'_>) -> Value {
        if !self.dropped {
            return value.clone();
        }
        let axes = e.ints(&self.axes);
        e.op("Unsqueeze", &[value, &axes])
    }

    /// How many elements of `x`, the input, are reduced to one; `None` if that depends on the batch size.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn count(&self, x: &Value, e: &Emit<'_>) -> Rule<Option<f64>> {
        let mut count = 1.0;
        for (before, _) in e.dims(x)?.iter().zip(&self.kept).filter(|(before, after)| before != after) {
            let Dim::Fixed(size) = before else { return Ok(None) };
            count *= *size as f64;
        }
        Ok(Some(count))
    }

    /// The same as a value of the graph, in the type of `x`.
    pub(super) fn count_at_run_time(&self, x: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        elements(x, &self.axes, e)
    }
}

/// The number of elements of `x` along `axes`, as a value of the graph in the type of `x`.
pub(super) fn elements(x: &Value, axes: &[i64], e: &mut Emit<'_>) -> Rule<Value> {
    let (shape, axes) = (e.op("Shape", &[x]), e.ints(axes));
    let sizes = e.op("Gather", &[&shape, &axes]);
    let count = e.op_with("ReduceProd", &[&sizes], [("keepdims", 0.into())]);
    Ok(e.cast(&count, DataType::Int64, e.dtype(x)?))
}

/// The reduced axes, none of them negative, where input 1 holds `given`; nothing if it is absent.
fn reduced(node: &Node, given: &[i64], rank: usize) -> Rule<Vec<i64>> {
    if given.is_empty() && node.int("noop_with_empty_axes", 0)? == 0 {
        return Ok((0..int(rank)).collect());
    }
    given.iter().map(|&a| axis(a, rank).map(int)).collect()
}

/// Channels go through along the axes that are not reduced.
pub(super) fn channels(node: &Node, c: &mut Channels<'_>) -> Rule<()> {
    let (x, y) = (node.required(0)?, output(node)?);
    let rank = c.dims(x)?.len();
    let axes = reduced(node, &c.ints(node, 1)?.unwrap_or_default(), rank)?;
    let dropped = node.int("keepdims", 1)? == 0;
    let mut to = 0;
    for axis in 0..rank {
        let is_reduced = axes.contains(&int(axis));
        if is_reduced {
            c.fix(x, axis, "it makes one number of all positions");
        } else {
            c.carry(x, axis, y, to);
        }
        to += usize::from(!(is_reduced && dropped));
    }
    Ok(())
}
