//! Topological order, and which values a node reads.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use crate::load::LoadError;
use crate::{Attribute, Graph, Node, Value};

/// Every value that `node` reads: its inputs, and what its subgraphs take from the graph around them.
pub(crate) fn reads(node: &Node) -> Vec<&Value> {
    let mut reads: Vec<&Value> = node.inputs.iter().flatten().collect();
    for graph in subgraphs(node) {
        let own: HashSet<&Value> = defined(graph).collect();
        let inner = graph.nodes.iter().flat_map(self::reads).chain(graph.outputs.iter().map(|o| &o.value));
        reads.extend(inner.filter(|v| !own.contains(v)));
    }
    reads
}

/// Every value that `graph` itself gives: inputs, initializers and what its nodes compute.
pub(crate) fn defined(graph: &Graph) -> impl Iterator<Item = &Value> {
    let computed = graph.nodes.iter().flat_map(|n| n.outputs.iter().flatten());
    graph.inputs.iter().map(|i| &i.value).chain(graph.initializers.keys()).chain(computed)
}

/// The graphs within a node, as in `If` and `Loop`.
pub(crate) fn subgraphs(node: &Node) -> impl Iterator<Item = &Graph> {
    node.attributes.values().filter_map(|a| match a {
        Attribute::Graph(graph) => Some(&**graph),
        _ => None,
    })
}

/// Brings the nodes of `graph` and of its subgraphs into topological order. Nodes that are in order already stay in place.
pub(crate) fn sort(graph: &mut Graph) -> Result<(), LoadError> {
    for node in &mut graph.nodes {
        for attribute in node.attributes.values_mut() {
            if let Attribute::Graph(inner) = attribute {
                sort(inner)?;
            }
        }
    }
    let order = order(graph)?;
    let mut nodes: Vec<Option<Node>> = std::mem::take(&mut graph.nodes).into_iter().map(Some).collect();
    graph.nodes = order.into_iter().filter_map(|i| nodes[i].take()).collect();
    Ok(())
}

/// Kahn's algorithm; of the nodes that are ready the first comes first.
fn order(graph: &Graph) -> Result<Vec<usize>, LoadError> {
    let mut producer = HashMap::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        for output in node.outputs.iter().flatten() {
            producer.insert(output, i);
        }
    }
    let mut missing = vec![0usize; graph.nodes.len()];
    let mut readers = vec![Vec::new(); graph.nodes.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        for &from in reads(node).into_iter().filter_map(|v| producer.get(v)) {
            missing[i] += 1;
            readers[from].push(i);
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> = (0..missing.len()).filter(|&i| missing[i] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(missing.len());
    while let Some(Reverse(i)) = ready.pop() {
        order.push(i);
        for &reader in &readers[i] {
            missing[reader] -= 1;
            if missing[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    match missing.iter().position(|&n| n > 0) {
        None => Ok(order),
        Some(i) => Err(LoadError::malformed(
            format!("node \"{}\" ({})", graph.nodes[i].label(), graph.nodes[i].operator),
            "it depends on its own output: the graph has a cycle",
        )),
    }
}

/// Makes `node` and its subgraphs read `to` where they read `from`, a value of the graph around the node.
pub(crate) fn rename_reads(node: &mut Node, from: &Value, to: &Value) {
    for value in node.inputs.iter_mut().flatten().filter(|v| *v == from) {
        *value = to.clone();
    }
    for attribute in node.attributes.values_mut() {
        let Attribute::Graph(graph) = attribute else { continue };
        // A value of the same name inside is another one.
        if !defined(graph).any(|value| value == from) {
            graph.nodes.iter_mut().for_each(|inner| rename_reads(inner, from, to));
        }
    }
}

/// Removes nodes and constants that no output depends on.
pub(crate) fn drop_unused(graph: &mut Graph) {
    let mut used: HashSet<Value> = graph.outputs.iter().map(|o| o.value.clone()).collect();
    let mut keep = vec![false; graph.nodes.len()];
    for (keep, node) in keep.iter_mut().zip(&graph.nodes).rev() {
        *keep = node.outputs.iter().flatten().any(|o| used.contains(o));
        if *keep {
            used.extend(reads(node).into_iter().cloned());
        }
    }
    let mut keep = keep.into_iter();
    graph.nodes.retain(|_| keep.next().unwrap_or(true));
    graph.initializers.retain(|value, _| used.contains(value));
    let produced: HashSet<&Value> = graph.nodes.iter().flat_map(|n| n.outputs.iter().flatten()).collect();
    graph.value_info.retain(|i| produced.contains(&i.value));
}
