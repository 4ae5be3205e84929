//! An ONNX model as a value.

// Sizes in a file are hostile until checked: no conversion may lose anything.
#![deny(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)]

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::{Attribute, Cause, DataType, Rule, Tensor};

/// Name of one tensor of a graph: an edge between the node that produces it and those that read it.
///
/// Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(Arc<str>);

impl Value {
    /// The value called `name`. An empty name means "absent" in a file and never reaches a `Value`.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Borrow<str> for Value {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Value {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

/// An ONNX model: a graph, the operator sets it is written in, and what its maker said about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Version of the file format; at least 4, because the inputs of a [`Graph`] never include initializers.
    pub ir_version: i64,
    /// Operator set version by domain; the standard domain is `""`.
    pub opsets: IndexMap<String, i64>,
    /// Name of the program that wrote the file.
    pub producer: String,
    /// Free-form properties.
    pub metadata: IndexMap<String, String>,
    /// The computation.
    pub graph: Graph,
    /// Operators that the file itself defines.
    pub functions: Vec<Function>,
    /// Whatever else the file holds that assay carries along without reading.
    pub(crate) rest: crate::proto::Rest,
}

/// A computation: nodes in topological order, from inputs and initializers to outputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Its name.
    pub name: String,
    /// In an order in which every value is produced before it is read.
    pub nodes: Vec<Node>,
    /// Inputs, without those that only give an initializer its default.
    pub inputs: Vec<ValueInfo>,
    /// Outputs.
    pub outputs: Vec<ValueInfo>,
    /// Constants by name.
    pub initializers: IndexMap<Value, Tensor>,
    /// What the file said about intermediate values. Never trusted for shapes: the runtime probes those.
    pub value_info: Vec<ValueInfo>,
    pub(crate) rest: crate::proto::Rest,
}

/// An operator that a file defines by a computation: a local function.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Function {
    /// Domain of the operator.
    pub domain: String,
    /// Its name in the domain.
    pub name: String,
    /// Which of several functions of that name it is; empty if there is one.
    pub overload: String,
    /// Attributes that a call may give and that have no default.
    pub attributes: Vec<String>,
    /// Attributes that have a default.
    pub defaults: IndexMap<String, Attribute>,
    /// Operator set versions that the body is written in, by domain.
    pub opsets: IndexMap<String, i64>,
    /// What it computes. Inputs and outputs have names only; an attribute may refer to one of the call.
    pub body: Graph,
    pub(crate) rest: crate::proto::Rest,
}

/// One application of an operator.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Its name; may be empty in files.
    pub name: String,
    /// Operator, for example `Conv`.
    pub operator: String,
    /// Domain of the operator; `""` is the standard one.
    pub domain: String,
    /// Which of several local functions of that name is called; empty for everything else.
    pub overload: String,
    /// Inputs by position; `None` where an optional input is absent.
    pub inputs: Vec<Option<Value>>,
    /// Outputs by position; `None` where an optional output is not wanted.
    pub outputs: Vec<Option<Value>>,
    /// Attributes by name.
    pub attributes: IndexMap<String, Attribute>,
    pub(crate) rest: crate::proto::Rest,
}

/// Name, element type and shape of an input, an output or an intermediate value, as the file states them.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueInfo {
    /// The value.
    pub value: Value,
    /// Element type; `None` if the file does not say or the value is not a tensor.
    pub dtype: Option<DataType>,
    /// Dimensions; `None` if the file does not say.
    pub shape: Option<Vec<Dimension>>,
    pub(crate) rest: crate::proto::Rest,
}

/// One stated dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// A size.
    Known(usize),
    /// A named size that may differ from run to run.
    Symbol(String),
    /// Not stated.
    Unknown,
}

impl Model {
    /// A model of the standard domain at version `opset`, in the version of the file format that came with it.
    #[must_use]
    pub fn new(opset: i64, graph: Graph) -> Self {
        // The file format of the release that brought the operator set; see ONNX's `docs/Versioning.md`.
        let ir_version = match opset {
            ..=9 => 4,
            10 => 5,
            11 => 6,
            12..=14 => 7,
            15..=18 => 8,
            19..=20 => 9,
            21..=22 => 10,
            23 => 11,
            24 => 12,
            _ => 13,
        };
        Self {
            ir_version,
            opsets: IndexMap::from([(String::new(), opset)]),
            producer: "assay".to_owned(),
            metadata: IndexMap::new(),
            graph,
            functions: Vec::new(),
            rest: crate::proto::Rest::default(),
        }
    }
}

impl ValueInfo {
    /// A tensor of `dtype` and `shape`.
    #[must_use]
    pub fn new(value: impl Into<Value>, dtype: DataType, shape: Vec<Dimension>) -> Self {
        Self { dtype: Some(dtype), shape: Some(shape), ..Self::untyped(value.into()) }
    }

    /// A value of which only the name is stated.
    #[must_use]
    pub fn untyped(value: Value) -> Self {
        Self { value, dtype: None, shape: None, rest: crate::proto::Rest::default() }
    }
}

impl Node {
    /// A node of the standard domain.
    #[must_use]
    pub fn new(operator: &str, inputs: Vec<Option<Value>>, outputs: Vec<Option<Value>>) -> Self {
        Self { operator: operator.to_owned(), inputs, outputs, ..Self::default() }
    }

    /// What to call it in a message: its name, or its first output if it has none.
    #[must_use]
    pub fn label(&self) -> &str {
        if self.name.is_empty() { self.outputs.iter().flatten().next().map_or("", Value::as_str) } else { &self.name }
    }

    /// Input `i`, if present.
    #[must_use]
    pub fn input(&self, i: usize) -> Option<&Value> {
        self.inputs.get(i).and_then(Option::as_ref)
    }

    /// Input `i`, which the operator requires.
    ///
    /// # Errors
    /// It is absent.
    pub fn required(&self, i: usize) -> Rule<&Value> {
        self.input(i).ok_or_else(|| Cause::Malformed(format!("input {i} is required")))
    }

    /// Output `i`, if wanted.
    #[must_use]
    pub fn output(&self, i: usize) -> Option<&Value> {
        self.outputs.get(i).and_then(Option::as_ref)
    }
}
