//! `SpaceToDepth`: blocks of pixels laid out as blocks of channels. <https://onnx.ai/onnx/operators/onnx__SpaceToDepth.html>

use super::class::output;
use super::depth_to_space::{block_size, blocks};
use super::inputs::int;
use super::{Class, Operator};
use crate::{Channels, Emit, Node, Rule, Value};

#[derive(Debug)]
pub(super) struct SpaceToDepth;

impl Operator for SpaceToDepth {
    fn name(&self) -> &'static str {
        "SpaceToDepth"
    }

    fn class(&self) -> Class {
        Class::ShapeOnly
    }

    fn transpose(&self, node: &Node, _: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        let blocksize = int(block_size(node)?);
        Ok(e.op_with("DepthToSpace", &[y], [("blocksize", blocksize.into()), ("mode", "DCR".into())]))
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        blocks(output(node)?, node.required(0)?, block_size(node)?, false, c)
    }
}
