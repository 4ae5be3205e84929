//! `DepthToSpace`: blocks of channels laid out as blocks of pixels. <https://onnx.ai/onnx/operators/onnx__DepthToSpace.html>

use super::class::output;
use super::inputs::{int, size};
use super::{Class, Operator};
use crate::{Cause, Channels, Dim, Emit, Node, Rule, Value};

#[derive(Debug)]
pub(super) struct DepthToSpace;

impl Operator for DepthToSpace {
    fn name(&self) -> &'static str {
        "DepthToSpace"
    }

    fn class(&self) -> Class {
        Class::ShapeOnly
    }

    /// `SpaceToDepth`, which knows the channel order `DCR` only; `CRD` is written with `Transpose`.
    fn transpose(&self, node: &Node, _: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let block = block_size(node)?;
        let blocksize = [("blocksize", int(block).into())];
        match node.text("mode", "DCR")? {
            "DCR" => Ok(e.op_with("SpaceToDepth", &[y], blocksize)),
            "CRD" => {
                let dims = e.dims(node.required(0)?)?;
                let (channels, height, width) = (size(dims, 1)?, size(dims, 2)?, size(dims, 3)?);
                let sizes = [channels / (block * block), height, block, width, block].map(Dim::Fixed);
                let split: Vec<Dim> = dims.first().copied().into_iter().chain(sizes).collect();
                let y = e.reshape(y, &split)?;
                let y = e.op_with("Transpose", &[&y], [("perm", vec![0, 1, 3, 5, 2, 4].into())]);
                e.reshape(&y, dims)
            }
            other => Err(Cause::Malformed(format!("attribute \"mode\" is \"{other}\""))),
        }
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        let block = block_size(node)?;
        let (x, y) = (node.required(0)?, output(node)?);
        let columns_first = node.text("mode", "DCR")? == "CRD";
        blocks(x, y, block, columns_first, c)
    }
}

/// Attribute `blocksize`.
pub(super) fn block_size(node: &Node) -> Rule<usize> {
    let block = node.int("blocksize", 0)?;
    usize::try_from(block)
        .ok()
        .filter(|b| (1..=usize::from(u16::MAX)).contains(b))
        .ok_or_else(|| Cause::Malformed(format!("attribute \"blocksize\" is {block}")))
}

/// `block²` channels of `deep` make one channel of `wide`: those that are next to each other where `adjacent` says so, else every
/// so many.
pub(super) fn blocks(deep: &Value, wide: &Value, block: usize, adjacent: bool, c: &mut Channels<'_>) -> Rule<()> {
    let (channels, blocks) = (c.size(wide, 1)?, block * block);
    c.carry(deep, 0, wide, 0);
    for (channel, i) in (0..channels).flat_map(|channel| (0..blocks).map(move |i| (channel, i))) {
        let from = if adjacent { channel * blocks + i } else { i * channels + channel };
        c.tie((deep, 1, from), (wide, 1, channel));
    }
    for value in [deep, wide] {
        c.fix_from(value, 2, "it changes its resolution");
    }
    Ok(())
}
