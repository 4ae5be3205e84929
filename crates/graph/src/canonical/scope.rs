//! What a rewrite may do besides changing its node.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::types::{Type, Types};
use crate::names::Names;
use crate::{Attribute, Cause, DataType, Node, Rule, Tensor, Value};

/// The surroundings of one node while it is rewritten.
pub(super) struct Scope<'g> {
    pub(super) initializers: &'g mut IndexMap<Value, Tensor>,
    pub(super) names: &'g mut Names,
    pub(super) types: &'g Types<'g>,
    /// Values that some node or output reads.
    pub(super) read: &'g HashSet<Value>,
    /// Nodes to put before the rewritten one.
    pub(super) before: Vec<Node>,
    /// Nodes to put after it.
    pub(super) after: Vec<Node>,
}

impl Scope<'_> {
    /// A new constant named after `node` and its `role`.
    pub(super) fn constant(&mut self, node: &Node, role: &str, tensor: Tensor) -> Value {
        let value = self.fresh(node, role);
        self.initializers.insert(value.clone(), tensor);
        value
    }

    /// A new scalar i64, named likewise.
    pub(super) fn integer(&mut self, node: &Node, role: &str, value: i64) -> Value {
        let scalar = Tensor::ints(&[value]).reshaped(Vec::new());
        self.constant(node, role, scalar.unwrap_or_else(|| Tensor::ints(&[value])))
    }

    /// A value that no other has the name of.
    pub(super) fn fresh(&mut self, node: &Node, role: &str) -> Value {
        self.names.fresh(&format!("{}/{role}", node.label()))
    }

    pub(super) fn of(&self, value: Option<&Value>) -> Type {
        self.types.of(value)
    }

    /// Element type of input 0 of `node`.
    pub(super) fn dtype(&self, node: &Node) -> Rule<DataType> {
        let dtype = self.of(node.input(0)).dtype.filter(|d| d.is_float());
        dtype.ok_or_else(|| {
            Cause::Unsupported(
                "its element type cannot be told from the file; export the model with operator set 18".into(),
            )
        })
    }

    /// Content of a constant.
    pub(super) fn tensor(&self, value: Option<&Value>) -> Option<&Tensor> {
        self.initializers.get(value?)
    }

    /// A new node before the rewritten one, with one output.
    pub(super) fn emit(&mut self, node: &Node, operator: &str, inputs: &[&Value]) -> Value {
        self.emit_with(node, operator, inputs, &[])
    }

    pub(super) fn emit_with(
        &mut self,
        node: &Node,
        operator: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute)],
    ) -> Value {
        let output = self.fresh(node, operator);
        let inputs = inputs.iter().map(|&v| Some(v.clone())).collect();
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let name = output.to_string();
        self.before.push(Node { name, attributes, ..Node::new(operator, inputs, vec![Some(output.clone())]) });
        output
    }
}

/// Makes `value` input `position` of `node`.
pub(super) fn set_input(node: &mut Node, position: usize, value: Value) {
    if node.inputs.len() <= position {
        node.inputs.resize(position + 1, None);
    }
    node.inputs[position] = Some(value);
}

/// Moves the integers of attribute `name` to input `position`.
pub(super) fn ints_to_input(node: &mut Node, scope: &mut Scope<'_>, name: &str, position: usize) -> Rule<()> {
    if let Some(values) = node.ints(name)? {
        let value = scope.constant(node, name, Tensor::ints(values));
        set_input(node, position, value);
        node.attributes.shift_remove(name);
    }
    Ok(())
}
