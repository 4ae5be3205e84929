//! Attributes of a node.

// Sizes in a file are hostile until checked: no conversion may lose anything.
#![deny(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)]

use bytes::Bytes;

use crate::{Cause, Graph, Node, Rule, Tensor};

/// Value of one attribute.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Attribute {
    /// A number.
    Float(f32),
    /// An integer.
    Int(i64),
    /// Bytes, by convention UTF-8.
    String(Bytes),
    /// A tensor.
    Tensor(Tensor),
    /// A subgraph, as in `If` and `Loop`.
    Graph(Box<Graph>),
    /// Numbers.
    Floats(Vec<f32>),
    /// Integers.
    Ints(Vec<i64>),
    /// Several byte strings.
    Strings(Vec<Bytes>),
    /// In a local function: the attribute of the call that has this name.
    Reference {
        /// Name of the call's attribute.
        name: String,
        /// Its ONNX kind.
        kind: i32,
    },
    /// A kind that assay carries along without reading, as its encoded message.
    Opaque(Bytes),
}

impl From<i64> for Attribute {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f32> for Attribute {
    fn from(value: f32) -> Self {
        Self::Float(value)
    }
}

impl From<Vec<i64>> for Attribute {
    fn from(value: Vec<i64>) -> Self {
        Self::Ints(value)
    }
}

impl From<&str> for Attribute {
    fn from(value: &str) -> Self {
        Self::String(Bytes::copy_from_slice(value.as_bytes()))
    }
}

impl From<Tensor> for Attribute {
    fn from(value: Tensor) -> Self {
        Self::Tensor(value)
    }
}

/// Typed access. An attribute of another type than the specification's is an error, never the default.
impl Node {
    /// Integer attribute `name`, or `default` if it is absent.
    ///
    /// # Errors
    /// It has another type.
    pub fn int(&self, name: &str, default: i64) -> Rule<i64> {
        match self.attributes.get(name) {
            None => Ok(default),
            Some(Attribute::Int(v)) => Ok(*v),
            Some(_) => Err(wrong_type(name, "an integer")),
        }
    }

    /// Float attribute `name`, or `default` if it is absent.
    ///
    /// # Errors
    /// It has another type.
    pub fn float(&self, name: &str, default: f32) -> Rule<f32> {
        match self.attributes.get(name) {
            None => Ok(default),
            Some(Attribute::Float(v)) => Ok(*v),
            Some(_) => Err(wrong_type(name, "a float")),
        }
    }

    /// Integers of attribute `name`; `None` if it is absent.
    ///
    /// # Errors
    /// It has another type.
    pub fn ints(&self, name: &str) -> Rule<Option<&[i64]>> {
        match self.attributes.get(name) {
            None => Ok(None),
            Some(Attribute::Ints(v)) => Ok(Some(v)),
            Some(_) => Err(wrong_type(name, "a list of integers")),
        }
    }

    /// Text of attribute `name`, or `default` if it is absent.
    ///
    /// # Errors
    /// It has another type or is not UTF-8.
    pub fn text<'a>(&'a self, name: &str, default: &'a str) -> Rule<&'a str> {
        match self.attributes.get(name) {
            None => Ok(default),
            Some(Attribute::String(v)) => std::str::from_utf8(v).map_err(|_| wrong_type(name, "UTF-8 text")),
            Some(_) => Err(wrong_type(name, "a string")),
        }
    }
}

fn wrong_type(name: &str, expected: &str) -> Cause {
    Cause::Malformed(format!("attribute \"{name}\" must be {expected}"))
}
