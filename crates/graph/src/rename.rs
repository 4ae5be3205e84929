//! Graphs that move into another graph: their values get names that nothing there has.

use std::collections::HashMap;

use crate::names::Names;
use crate::{Attribute, Graph, Node, Value};

/// What the values of a graph are called where it goes; `None` for an input that the caller leaves out.
pub(crate) type Renamed = HashMap<Value, Option<Value>>;

/// Names everything that the nodes and initializers of `graph` give and that has no name in `map` yet, `<prefix>/<name>` or
/// like it.
pub(crate) fn name_all(graph: &Graph, prefix: &str, map: &mut Renamed, names: &mut Names) {
    let computed = graph.nodes.iter().flat_map(|node| node.outputs.iter().flatten());
    for value in graph.initializers.keys().chain(computed) {
        if !map.contains_key(value) {
            map.insert(value.clone(), Some(names.fresh(&format!("{prefix}/{value}"))));
        }
    }
}

/// `node` with the names of `map`, and all that its subgraphs give renamed too. Values that are not in `map` belong to the
/// graph around and keep their names.
pub(crate) fn rename(node: &mut Node, prefix: &str, map: &Renamed, names: &mut Names) {
    // Runtimes refuse two nodes of one name.
    node.name = names.fresh(&format!("{prefix}/{}", node.label())).to_string();
    for value in node.inputs.iter_mut().chain(&mut node.outputs) {
        replace(value, map);
    }
    for attribute in node.attributes.values_mut() {
        let Attribute::Graph(graph) = attribute else { continue };
        let mut inner = map.clone();
        for input in &graph.inputs {
            inner.insert(input.value.clone(), Some(names.fresh(&format!("{prefix}/{}", input.value))));
        }
        // What the subgraph gives hides a value of that name around it.
        let own = graph.nodes.iter().flat_map(|n| n.outputs.iter().flatten()).chain(graph.initializers.keys());
        own.for_each(|value| drop(inner.remove(value)));
        name_all(graph, prefix, &mut inner, names);
        rename_graph(graph, prefix, &inner, names);
    }
}

fn rename_graph(graph: &mut Graph, prefix: &str, map: &Renamed, names: &mut Names) {
    for info in graph.inputs.iter_mut().chain(&mut graph.outputs) {
        if let Some(Some(to)) = map.get(&info.value) {
            info.value = to.clone();
        }
    }
    // Their names would be those of other values.
    graph.value_info.clear();
    graph.initializers = std::mem::take(&mut graph.initializers)
        .into_iter()
        .map(|(value, tensor)| (map.get(&value).cloned().flatten().unwrap_or(value), tensor))
        .collect();
    graph.nodes.iter_mut().for_each(|node| rename(node, prefix, map, names));
}

fn replace(value: &mut Option<Value>, map: &Renamed) {
    if let Some(to) = value.as_ref().and_then(|from| map.get(from)) {
        *value = to.clone();
    }
}

/// Chooses the names of what a graph gives, so that it becomes `wanted` of the graph around. What cannot be renamed, because
/// it is an input, belongs to the graph around or is given twice, is copied: the result are the copying nodes.
pub(crate) fn name_outputs(
    graph: &Graph,
    wanted: &[Option<Value>],
    prefix: &str,
    map: &mut Renamed,
    names: &mut Names,
) -> Vec<Node> {
    let mut copies = Vec::new();
    for (output, wanted) in graph.outputs.iter().zip(wanted) {
        let Some(wanted) = wanted else { continue };
        let computed = graph.nodes.iter().any(|node| node.outputs.iter().flatten().any(|v| *v == output.value));
        if computed && !map.contains_key(&output.value) {
            map.insert(output.value.clone(), Some(wanted.clone()));
            continue;
        }
        let from = map.get(&output.value).cloned().unwrap_or_else(|| {
            // An initializer gets its name now; a value of the graph around has one.
            let own = graph.initializers.contains_key(&output.value);
            Some(if own { names.fresh(&format!("{prefix}/{}", output.value)) } else { output.value.clone() })
        });
        map.insert(output.value.clone(), from.clone());
        let mut copy = Node::new("Identity", vec![from], vec![Some(wanted.clone())]);
        copy.name = names.fresh(&format!("{prefix}/{}/copy", output.value)).to_string();
        copies.push(copy);
    }
    copies
}
