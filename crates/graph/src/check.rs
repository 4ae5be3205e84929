//! What every model must satisfy, before and after each transformation.

use std::collections::HashSet;

use crate::order::subgraphs;
use crate::{Graph, Model, Value};

/// Why a model is not one that can be computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Defect {
    /// Two inputs, initializers or nodes have the same name for what they give.
    #[error("value \"{value}\" is defined twice: every value needs a name of its own")]
    Twice {
        /// The value.
        value: Value,
    },
    /// A node reads a value that nothing before it gives.
    #[error("node \"{node}\" ({operator}) reads \"{value}\", which no input, initializer or node before it gives")]
    Dangling {
        /// Name of the node, or of its first output.
        node: String,
        /// Its operator.
        operator: String,
        /// The value.
        value: Value,
    },
    /// A graph's output is not computed.
    #[error("output \"{value}\" is not computed by the graph")]
    NoOutput {
        /// The output.
        value: Value,
    },
    /// A node has no operator.
    #[error("node \"{node}\" has no operator")]
    NoOperator {
        /// Name of the node, or of its first output.
        node: String,
    },
}

/// Checks that every value has one origin, every node reads what was given before it, and every output is computed.
///
/// # Errors
/// The first of these that does not hold.
pub fn check(model: &Model) -> Result<(), Defect> {
    graph(&model.graph, None)
}

/// What is given so far in a graph and in those around it.
struct Scope<'g> {
    own: HashSet<&'g Value>,
    outer: Option<&'g Scope<'g>>,
}

impl<'g> Scope<'g> {
    fn define(&mut self, value: &'g Value) -> Result<(), Defect> {
        if self.own.insert(value) { Ok(()) } else { Err(Defect::Twice { value: value.clone() }) }
    }

    fn has(&self, value: &Value) -> bool {
        self.own.contains(value) || self.outer.is_some_and(|outer| outer.has(value))
    }
}

fn graph(graph: &Graph, outer: Option<&Scope<'_>>) -> Result<(), Defect> {
    let mut scope = Scope { own: HashSet::new(), outer };
    for value in graph.inputs.iter().map(|i| &i.value).chain(graph.initializers.keys()) {
        scope.define(value)?;
    }
    for node in &graph.nodes {
        if node.operator.is_empty() {
            return Err(Defect::NoOperator { node: node.label().to_owned() });
        }
        if let Some(value) = node.inputs.iter().flatten().find(|v| !scope.has(v)) {
            let (node, operator) = (node.label().to_owned(), node.operator.clone());
            return Err(Defect::Dangling { node, operator, value: value.clone() });
        }
        for inner in subgraphs(node) {
            self::graph(inner, Some(&scope))?;
        }
        for value in node.outputs.iter().flatten() {
            scope.define(value)?;
        }
    }
    match graph.outputs.iter().find(|o| !scope.has(&o.value)) {
        None => Ok(()),
        Some(output) => Err(Defect::NoOutput { value: output.value.clone() }),
    }
}
