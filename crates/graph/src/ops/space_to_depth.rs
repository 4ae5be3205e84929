//! `SpaceToDepth`: blocks of pixels laid out as blocks of channels. <https://onnx.ai/onnx/operators/onnx__SpaceToDepth.html>

use super::depth_to_space::block_size;
use super::inputs::int;
use super::{Class, Operator};
use crate::{Emit, Node, Rule, Value};

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
}
