//! The ONNX file format: the messages of `onnx.proto` with the fields that assay reads.
//!
//! A message declares only what the domain types model. Every other field — documentation, training information,
//! quantization annotations, fields of later format versions — stays in encoded form beside it (see [`Kept`]) and is
//! written out again unchanged.

// Sizes in a file are hostile until checked: no conversion may lose anything.
#![deny(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)]

mod kept;
mod read;
mod sparse;
mod survey;
mod write;

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

pub(crate) use kept::Kept;
pub(crate) use read::Reader;
pub(crate) use survey::survey;
pub(crate) use write::{Storage, encode};

/// Encoded fields that a domain value carries along without reading, and those of the messages within it that have no
/// domain value of their own (an attribute's documentation, a dimension's denotation).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rest {
    fields: Bytes,
    parts: BTreeMap<String, Rest>,
}

/// The part of a tensor's rest that holds its own name, where it is an attribute: an initializer has that of its value.
const OWN_NAME: &str = "own name";

impl Rest {
    fn new(fields: Vec<u8>) -> Self {
        Self { fields: fields.into(), parts: BTreeMap::new() }
    }

    fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.parts.is_empty()
    }

    /// Keeps `rest` under `key`, if there is anything in it.
    fn keep(&mut self, key: impl Into<String>, rest: Self) {
        if !rest.is_empty() {
            self.parts.insert(key.into(), rest);
        }
    }

    fn part(&self, key: &str) -> Self {
        self.parts.get(key).cloned().unwrap_or_default()
    }

    fn bytes(&self) -> Vec<u8> {
        self.fields.to_vec()
    }

    /// Carries one more field along.
    fn push(&mut self, mut encode: impl FnMut(&mut Vec<u8>)) {
        let mut fields = self.bytes();
        encode(&mut fields);
        self.fields = fields.into();
    }
}

/// The field numbers that a message declares.
pub(crate) trait Fields: Message + Default {
    const TAGS: &'static [u32];
}

macro_rules! messages {
    ($($(#[$doc:meta])* struct $name:ident { $($field:ident: $type:ty = $tag:tt ($($kind:tt)+),)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Message)]
        pub(crate) struct $name {
            $(#[prost($($kind)+, tag = $tag)] pub(crate) $field: $type,)*
        }

        impl Fields for $name {
            const TAGS: &'static [u32] = &[$($tag),*];
        }
    )*};
}

messages! {
    struct ModelProto {
        ir_version: Option<i64> = 1 (int64, optional),
        producer_name: Option<String> = 2 (string, optional),
        graph: Option<Kept<GraphProto>> = 7 (message, optional),
        opset_import: Vec<Kept<OperatorSetIdProto>> = 8 (message, repeated),
        metadata_props: Vec<Kept<StringStringEntryProto>> = 14 (message, repeated),
        functions: Vec<Kept<FunctionProto>> = 25 (message, repeated),
    }

    struct FunctionProto {
        name: Option<String> = 1 (string, optional),
        input: Vec<String> = 4 (string, repeated),
        output: Vec<String> = 5 (string, repeated),
        attribute: Vec<String> = 6 (string, repeated),
        node: Vec<Kept<NodeProto>> = 7 (message, repeated),
        opset_import: Vec<Kept<OperatorSetIdProto>> = 9 (message, repeated),
        domain: Option<String> = 10 (string, optional),
        attribute_proto: Vec<Kept<AttributeProto>> = 11 (message, repeated),
        overload: Option<String> = 13 (string, optional),
    }

    struct OperatorSetIdProto {
        domain: Option<String> = 1 (string, optional),
        version: Option<i64> = 2 (int64, optional),
    }

    struct StringStringEntryProto {
        key: Option<String> = 1 (string, optional),
        value: Option<String> = 2 (string, optional),
    }

    struct GraphProto {
        node: Vec<Kept<NodeProto>> = 1 (message, repeated),
        name: Option<String> = 2 (string, optional),
        initializer: Vec<Kept<TensorProto>> = 5 (message, repeated),
        input: Vec<Kept<ValueInfoProto>> = 11 (message, repeated),
        output: Vec<Kept<ValueInfoProto>> = 12 (message, repeated),
        value_info: Vec<Kept<ValueInfoProto>> = 13 (message, repeated),
        sparse_initializer: Vec<Kept<SparseTensorProto>> = 15 (message, repeated),
    }

    struct NodeProto {
        input: Vec<String> = 1 (string, repeated),
        output: Vec<String> = 2 (string, repeated),
        name: Option<String> = 3 (string, optional),
        op_type: Option<String> = 4 (string, optional),
        attribute: Vec<Kept<AttributeProto>> = 5 (message, repeated),
        domain: Option<String> = 7 (string, optional),
        overload: Option<String> = 8 (string, optional),
    }

    struct AttributeProto {
        name: Option<String> = 1 (string, optional),
        f: Option<f32> = 2 (float, optional),
        i: Option<i64> = 3 (int64, optional),
        s: Option<Bytes> = 4 (bytes = "bytes", optional),
        t: Option<Kept<TensorProto>> = 5 (message, optional),
        g: Option<Kept<GraphProto>> = 6 (message, optional),
        floats: Vec<f32> = 7 (float, repeated, packed = "false"),
        ints: Vec<i64> = 8 (int64, repeated, packed = "false"),
        strings: Vec<Bytes> = 9 (bytes = "bytes", repeated),
        kind: Option<i32> = 20 (int32, optional),
        ref_attr_name: Option<String> = 21 (string, optional),
    }

    struct ValueInfoProto {
        name: Option<String> = 1 (string, optional),
        kind: Option<Kept<TypeProto>> = 2 (message, optional),
    }

    /// Only tensor types are read; the others stay encoded.
    struct TypeProto {
        tensor_type: Option<Kept<TensorTypeProto>> = 1 (message, optional),
    }

    struct TensorTypeProto {
        elem_type: Option<i32> = 1 (int32, optional),
        shape: Option<Kept<TensorShapeProto>> = 2 (message, optional),
    }

    struct TensorShapeProto {
        dim: Vec<Kept<DimensionProto>> = 1 (message, repeated),
    }

    /// A dimension has at most one of the two.
    struct DimensionProto {
        dim_value: Option<i64> = 1 (int64, optional),
        dim_param: Option<String> = 2 (string, optional),
    }

    struct TensorProto {
        dims: Vec<i64> = 1 (int64, repeated, packed = "false"),
        data_type: Option<i32> = 2 (int32, optional),
        float_data: Vec<f32> = 4 (float, repeated),
        int32_data: Vec<i32> = 5 (int32, repeated),
        string_data: Vec<Bytes> = 6 (bytes = "bytes", repeated),
        int64_data: Vec<i64> = 7 (int64, repeated),
        name: Option<String> = 8 (string, optional),
        raw_data: Option<Bytes> = 9 (bytes = "bytes", optional),
        double_data: Vec<f64> = 10 (double, repeated),
        uint64_data: Vec<u64> = 11 (uint64, repeated),
        external_data: Vec<Kept<StringStringEntryProto>> = 13 (message, repeated),
        data_location: Option<i32> = 14 (int32, optional),
    }

    /// Coordinates and what is there; its name is that of the values.
    struct SparseTensorProto {
        values: Option<Kept<TensorProto>> = 1 (message, optional),
        indices: Option<Kept<TensorProto>> = 2 (message, optional),
        dims: Vec<i64> = 3 (int64, repeated, packed = "false"),
    }
}

/// `TensorProto.DataLocation.EXTERNAL`.
pub(crate) const EXTERNAL: i32 = 1;

/// `AttributeProto.AttributeType`.
pub(crate) mod kind {
    pub(crate) const FLOAT: i32 = 1;
    pub(crate) const INT: i32 = 2;
    pub(crate) const STRING: i32 = 3;
    pub(crate) const TENSOR: i32 = 4;
    pub(crate) const GRAPH: i32 = 5;
    pub(crate) const FLOATS: i32 = 6;
    pub(crate) const INTS: i32 = 7;
    pub(crate) const STRINGS: i32 = 8;
}
