//! The transpose of a map that copies elements along one axis: every input element gets the sum of those that copied it.

use super::inputs::{int, pad, size};
use crate::{Cause, Dim, Emit, Rule, Tensor, Value};

/// Table entries above which a transposed selection is refused rather than made: 2^24.
const LARGEST_TABLE: usize = 1 << 24;

/// `x[i] = Σ y[o]` over the `o` with `reads[o] == i`, along `axis`, for `i` in `0..input`.
///
/// `y` has the shape `dims`; the result has `input` in place of `reads.len()`. Runs of neighbours become a `Pad`, everything
/// else one `Gather` from a table of who copied whom, with a zero for nobody. Accumulation is in a fixed order.
///
/// # Errors
/// The axis depends on the batch, or one element is copied so often that the table would be huge.
pub(super) fn transpose_selection(
    y: &Value,
    dims: &[Dim],
    axis: usize,
    reads: &[usize],
    input: usize,
    e: &mut Emit<'_>,
) -> Rule<Value> {
    let output = size(dims, axis)?;
    if output != reads.len() || reads.iter().any(|&i| i >= input) {
        return Err(Cause::Malformed(format!("axis {axis} has {input} elements; not all that are read exist")));
    }
    let around = |begin: usize, end: usize| {
        (0..dims.len()).map(|a| if a == axis { (int(begin), int(end)) } else { (0, 0) }).collect::<Vec<_>>()
    };
    let first = reads.first().copied().unwrap_or(0);
    if reads.iter().enumerate().all(|(o, &i)| i == first + o) {
        return Ok(pad(y, &around(first, input - first - output), e));
    }
    let mut readers = vec![Vec::new(); input];
    for (o, &i) in reads.iter().enumerate() {
        readers[i].push(int(o));
    }
    let most = readers.iter().map(Vec::len).max().unwrap_or(0);
    if most.saturating_mul(input) > LARGEST_TABLE {
        return Err(Cause::Unsupported(format!("one of {input} elements is copied {most} times")));
    }
    let y = if readers.iter().any(|r| r.len() < most) { pad(y, &around(0, 1), e) } else { y.clone() };
    let table: Vec<i64> = readers
        .iter()
        .flat_map(|r| r.iter().copied().chain(std::iter::repeat_n(int(output), most - r.len())))
        .collect();
    let table = Tensor::ints(&table);
    if most == 1 {
        let table = e.tensor(table);
        return Ok(e.op_with("Gather", &[&y, &table], [("axis", int(axis).into())]));
    }
    let table = table
        .reshaped(vec![input, most])
        .ok_or_else(|| Cause::Malformed(format!("a table of {input} by {most} elements")))?;
    let table = e.tensor(table);
    let copies = e.op_with("Gather", &[&y, &table], [("axis", int(axis).into())]);
    let over = e.ints(&[int(axis) + 1]);
    Ok(e.op_with("ReduceSum", &[&copies, &over], [("keepdims", 0.into())]))
}
