//! The batch size is left open, also where the file fixes it.

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;

use crate::names::Names;
use crate::order::reads;
use crate::{Attribute, Dimension, Graph, Node, Tensor, Value};

/// What the batch dimension is called.
const BATCH: &str = "batch";

/// Names the first dimension of the only input, and lets it flow where the file has it fixed: in constant targets of
/// `Reshape` and `Resize` and in the declared shapes. Models with several inputs stay as they are.
pub(super) fn open(graph: &mut Graph, names: &mut Names) {
    let [input] = graph.inputs.as_mut_slice() else { return };
    let Some(first) = input.shape.as_mut().and_then(|dims| dims.first_mut()) else { return };
    match std::mem::replace(first, Dimension::Symbol(BATCH.into())) {
        Dimension::Known(size) => {
            let input = input.value.clone();
            forget(graph, size);
            unfix(graph, input, size, names);
        }
        Dimension::Symbol(name) => rename(graph, &name),
        Dimension::Unknown => {}
    }
}

/// Gives the batch dimension its name in every declared shape.
fn rename(graph: &mut Graph, name: &str) {
    for dim in graph.outputs.iter_mut().chain(&mut graph.value_info).flat_map(|info| info.shape.iter_mut().flatten()) {
        if matches!(dim, Dimension::Symbol(other) if other == name) {
            *dim = Dimension::Symbol(BATCH.into());
        }
    }
}

/// Drops what was declared for a batch of `size`.
fn forget(graph: &mut Graph, size: usize) {
    graph.value_info.clear();
    for output in &mut graph.outputs {
        match output.shape.as_mut().and_then(|dims| dims.first_mut()) {
            Some(first) if *first == Dimension::Known(size) => *first = Dimension::Symbol(BATCH.into()),
            _ => output.shape = None,
        }
    }
}

/// Rewrites constant targets that were made for a batch of `size`, on the way from `input`.
fn unfix(graph: &mut Graph, input: Value, size: usize, names: &mut Names) {
    let Ok(size) = i64::try_from(size) else { return };
    let mut carries = HashSet::from([input]);
    // Nodes may share a target.
    let mut targets: HashMap<Vec<i64>, Value> = HashMap::new();
    for node in &mut graph.nodes {
        if !reads(node).iter().any(|v| carries.contains(*v)) {
            continue;
        }
        carries.extend(node.outputs.iter().flatten().cloned());
        let rewritten = match (node.domain.as_str(), node.operator.as_str()) {
            ("", "Reshape") => reshape(node, &graph.initializers, size).map(|dims| (1, dims)),
            ("", "Resize") => resize(node, &graph.initializers, size).map(|dims| (3, dims)),
            _ => None,
        };
        if let Some((position, dims)) = rewritten {
            let wish = format!("{}/target", node.label());
            let value = targets.entry(dims).or_insert_with_key(|dims| {
                let value = names.fresh(&wish);
                graph.initializers.insert(value.clone(), Tensor::ints(dims));
                value
            });
            node.inputs[position] = Some(value.clone());
        }
    }
}

/// The constant at input `position`, if it starts with the batch size.
fn target(node: &Node, position: usize, constants: &IndexMap<Value, Tensor>, size: i64) -> Option<Vec<i64>> {
    let target = constants.get(node.input(position)?)?.to_i64()?;
    (target.first() == Some(&size)).then_some(target)
}

/// `[1, 16, 4, 4]` becomes `[-1, 16, 4, 4]`, and `[1, -1]` becomes `[0, -1]`: the size of the input's first dimension.
fn reshape(node: &mut Node, constants: &IndexMap<Value, Tensor>, size: i64) -> Option<Vec<i64>> {
    let mut dims = target(node, 1, constants, size)?;
    if !dims.contains(&-1) {
        dims[0] = -1;
    } else if !dims.contains(&0) {
        dims[0] = 0;
        // Without a zero in it the target meant the same either way.
        node.attributes.shift_remove("allowzero");
    } else if node.attributes.get("allowzero") != Some(&Attribute::Int(1)) {
        dims[0] = 0;
    } else {
        return None;
    }
    Some(dims)
}

/// Sizes are stated for all dimensions but the first.
fn resize(node: &mut Node, constants: &IndexMap<Value, Tensor>, size: i64) -> Option<Vec<i64>> {
    if node.attributes.contains_key("axes") {
        return None;
    }
    let sizes = target(node, 3, constants, size)?;
    let axes: Vec<i64> = (1_i64..).take(sizes.len() - 1).collect();
    node.attributes.insert("axes".into(), axes.into());
    Some(sizes[1..].to_vec())
}
