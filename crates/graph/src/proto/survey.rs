//! A first look at a file, before anything is allocated for it.

use prost::encoding::{WireType, decode_key, decode_varint};

use crate::load::{Limits, LoadError};

/// Length-delimited fields (messages, names, strings) that a file may hold for each node of its limit.
const PARTS_PER_NODE: usize = 50;

/// The messages whose fields become many small allocations.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Function,
    Graph,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    /// Anything without messages in it that matter here.
    Leaf,
}

impl Message {
    fn field(self, tag: u32) -> Option<Self> {
        Some(match (self, tag) {
            (Self::Model, 7) | (Self::Attribute, 6) => Self::Graph,
            (Self::Model, 8 | 14) | (Self::Function, 9) | (Self::Shape, 1) | (Self::Tensor, 13) => Self::Leaf,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5) | (Self::SparseTensor, 1 | 2) => Self::Tensor,
            (Self::Graph, 15) => Self::SparseTensor,
            (Self::Graph, 11..=13) => Self::ValueInfo,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            (Self::ValueInfo, 2) => Self::Type,
            (Self::Type, 1) => Self::TensorType,
            (Self::TensorType, 2) => Self::Shape,
            _ => return None,
        })
    }
}

/// Walks over the encoded model and refuses it if it is truncated, nests its graphs too deeply or has too many parts.
pub(crate) fn survey(file: &[u8], limits: &Limits) -> Result<(), LoadError> {
    let mut survey = Survey { limits, nodes: 0, parts: 0 };
    survey.message(Message::Model, file, 0)
}

struct Survey<'l> {
    limits: &'l Limits,
    nodes: usize,
    parts: usize,
}

impl Survey<'_> {
    fn message(&mut self, message: Message, mut content: &[u8], depth: usize) -> Result<(), LoadError> {
        if depth > self.limits.depth {
            return Err(LoadError::limit("nesting of subgraphs", depth, "depth", self.limits.depth));
        }
        while !content.is_empty() {
            let (tag, wire_type) = decode_key(&mut content).map_err(LoadError::encoding)?;
            let length = match wire_type {
                WireType::Varint => {
                    decode_varint(&mut content).map_err(LoadError::encoding)?;
                    continue;
                }
                WireType::SixtyFourBit => 8,
                WireType::ThirtyTwoBit => 4,
                WireType::LengthDelimited => decode_varint(&mut content).map_err(LoadError::encoding)?,
                WireType::StartGroup | WireType::EndGroup => {
                    return Err(LoadError::encoding("it has a protobuf group, which ONNX does not use"));
                }
            };
            let (field, left) =
                usize::try_from(length).ok().and_then(|length| content.split_at_checked(length)).ok_or_else(|| {
                    LoadError::encoding(format!("it is truncated: {length} bytes expected, {} left", content.len()))
                })?;
            content = left;
            if wire_type != WireType::LengthDelimited {
                continue;
            }
            self.count(&mut |s| &mut s.parts, "parts", self.limits.nodes.saturating_mul(PARTS_PER_NODE))?;
            if let Some(inner) = message.field(tag) {
                if matches!(inner, Message::Node) {
                    self.count(&mut |s| &mut s.nodes, "nodes", self.limits.nodes)?;
                }
                let deeper = usize::from(matches!((message, inner), (Message::Attribute, Message::Graph)));
                self.message(inner, field, depth + deeper)?;
            }
        }
        Ok(())
    }

    fn count(
        &mut self,
        counter: &mut dyn FnMut(&mut Self) -> &mut usize,
        what: &'static str,
        limit: usize,
    ) -> Result<(), LoadError> {
        let counter = counter(self);
        *counter += 1;
        if *counter > limit { Err(LoadError::limit(what, *counter, "nodes", limit)) } else { Ok(()) }
    }
}
