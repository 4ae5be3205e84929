//! `DepthToSpace`: blocks of channels laid out as blocks of pixels. <https://onnx.ai/onnx/operators/onnx__DepthToSpace.html>

use super::inputs::{int, size};
use super::{Class, Operator};
use crate::{Cause, Dim, Emit, Node, Rule, Value};

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
}

/// Attribute `blocksize`.
pub(super) fn block_size(node: &Node) -> Rule<usize> {
    let block = node.int("blocksize", 0)?;
    usize::try_from(block)
        .ok()
        .filter(|b| (1..=usize::from(u16::MAX)).contains(b))
        .ok_or_else(|| Cause::Malformed(format!("attribute \"blocksize\" is {block}")))
}
