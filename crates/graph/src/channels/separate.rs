//! Vectors that several layers read, made one for each.
//!
//! Exporters store equal vectors once, for example the zeros that all biases of a new net are. That does not tie the layers:
//! each gets a copy. Matrices and kernels that are read twice are the same weights on purpose, and stay one.

use std::collections::HashMap;

use crate::names::Names;
use crate::transform::untied;
use crate::{Facts, Shaped, Value};

/// A model in which no vector is read twice.
pub(super) struct Separate {
    pub(super) model: Shaped,
    /// Copies that were made, and what they are copies of.
    pub(super) originals: HashMap<Value, Value>,
}

pub(super) fn separate(source: &Shaped) -> Separate {
    let mut model = untied(source);
    let mut originals = HashMap::new();
    let graph = &mut model.canonical.model.graph;
    let mut names = Names::of(graph);
    let mut read = std::collections::HashSet::new();
    for node in &mut graph.nodes {
        let label = node.label().to_owned();
        for value in node.inputs.iter_mut().flatten() {
            let Some(tensor) = graph.initializers.get(value).filter(|t| t.dims().len() == 1 && t.dtype().is_float())
            else {
                continue;
            };
            if read.insert(value.clone()) {
                continue;
            }
            let copy = names.fresh(&format!("{value}/{label}"));
            model.shapes.0.insert(copy.clone(), Facts::of(tensor));
            let tensor = tensor.clone();
            graph.initializers.insert(copy.clone(), tensor);
            originals.insert(copy.clone(), value.clone());
            *value = copy;
        }
    }
    Separate { model, originals }
}
