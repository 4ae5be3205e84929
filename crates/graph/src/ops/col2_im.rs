//! `Col2Im`: blocks added up where they lie in an image, as `torch.nn.functional.fold` does.
//! <https://onnx.ai/onnx/operators/onnx__Col2Im.html>

use super::inputs::{ints, pad};
use super::window::{Stated, Window};
use super::{Class, Operator};
use crate::{Cause, Dim, Emit, Node, Rule, Tensor, Value};

/// Inputs: blocks `[n, channels · elements of a block, blocks]`, the sizes of the image, the sizes of a block.
pub(super) struct Col2Im;

impl Operator for Col2Im {
    fn name(&self) -> &'static str {
        "Col2Im"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    fn refused(&self) -> &'static str {
        "computed sizes"
    }

    /// Every block reads where it was added.
    fn transpose(&self, node: &Node, _: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let blocks = e.dims(node.required(0)?)?.to_vec();
        let windows = windows(node, e)?;
        let &[batch, channels, ..] = e.dims(super::class::output(node)?)? else {
            return Err(Cause::Malformed("an image has a batch and channels".into()));
        };
        let around: Vec<(i64, i64)> =
            [(0, 0); 2].into_iter().chain(windows.iter().map(|w| (w.begin, w.overhang()))).collect();
        let padded = pad(y, &around, e);
        let elements: i64 = windows.iter().map(Window::extent).product();
        let flat =
            e.reshape(&padded, &[batch, channels, Dim::Fixed(usize::try_from(elements).unwrap_or(usize::MAX))])?;
        let reads = e.tensor(Tensor::ints(&reads(&windows)));
        let read = e.op_with("Gather", &[&flat, &reads], [("axis", 2.into())]);
        e.reshape(&read, &blocks)
    }
}

/// Positions of a block along each axis of the image.
fn windows(node: &Node, e: &Emit<'_>) -> Rule<Vec<Window>> {
    let sizes = |i: usize, name: &str| -> Rule<Vec<i64>> {
        ints(node, i, name, e)?.ok_or_else(|| Cause::Malformed(format!("input {i} ({name}) is required")))
    };
    let (image, block) = (sizes(1, "image shape")?, sizes(2, "block shape")?);
    let stated = Stated::of(node, block)?;
    let (mut wide, mut narrow) = (Vec::new(), Vec::new());
    for (axis, &size) in image.iter().enumerate().take(stated.kernel.len()) {
        let reach = stated.dilations[axis] * (stated.kernel[axis] - 1) + 1;
        let room = size.saturating_add(stated.begins[axis] + stated.ends[axis] - reach);
        let sizes = usize::try_from(size).ok().zip(usize::try_from(room).ok());
        let (size, room) = sizes.ok_or_else(|| {
            Cause::Malformed(format!("blocks that reach over {reach} elements in an image of {size} with its padding"))
        })?;
        wide.push(size);
        narrow.push(room / usize::try_from(stated.strides[axis]).unwrap_or(1) + 1);
    }
    stated.reading(&wide, &narrow)
}

/// The elements of the padded image that are read: element by element of a block, each at every position of the block.
fn reads(windows: &[Window]) -> Vec<i64> {
    let grid = |count: fn(&Window) -> i64, step: fn(&Window) -> i64| {
        windows.iter().fold(vec![0], |found, w| {
            let along = |at: i64| (0..count(w)).map(move |i| at * w.extent() + i * step(w));
            found.into_iter().flat_map(along).collect::<Vec<i64>>()
        })
    };
    let positions = grid(|w| w.narrow, |w| w.stride);
    let taps = grid(|w| w.kernel, |w| w.dilation);
    taps.iter().flat_map(|tap| positions.iter().map(move |position| tap + position)).collect()
}
