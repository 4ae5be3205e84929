//! `If` with a constant condition is the branch that it takes.

use crate::names::Names;
use crate::rename::{Renamed, name_all, name_outputs, rename};
use crate::{Attribute, Cause, Graph, Node, Rule, Tensor, Value};

/// Replaces every `If` of `graph` whose condition `constant` knows by the nodes of its branch, also in subgraphs. The result
/// are the names of the replaced nodes.
///
/// # Errors
/// Such an `If` has not the branch that it takes, or the branch other outputs.
pub(crate) fn take(
    graph: &mut Graph,
    names: &mut Names,
    constant: &dyn Fn(&Value) -> Option<Tensor>,
) -> Result<Vec<String>, (Node, Cause)> {
    let mut taken = Vec::new();
    let mut todo: Vec<Node> = std::mem::take(&mut graph.nodes).into_iter().rev().collect();
    while let Some(mut node) = todo.pop() {
        let known = |value: &Value| graph.initializers.get(value).cloned().or_else(|| constant(value));
        if node.domain.is_empty()
            && node.operator == "If"
            && let Some(condition) = node.input(0).and_then(known).and_then(|tensor| tensor.to_i64())
        {
            let (label, original) = (node.label().to_owned(), node.clone());
            // The branch may hold such nodes itself.
            let (nodes, constants) = branch(node, &condition, names).map_err(|cause| (original, cause))?;
            graph.initializers.extend(constants);
            todo.extend(nodes.into_iter().rev());
            taken.push(label);
            continue;
        }
        for attribute in node.attributes.values_mut() {
            if let Attribute::Graph(inner) = attribute {
                taken.extend(take(inner, names, &known)?);
            }
        }
        graph.nodes.push(node);
    }
    Ok(taken)
}

type Constants = Vec<(Value, Tensor)>;

/// The nodes and initializers of the branch of `node` that `condition` chooses, under new names.
fn branch(mut node: Node, condition: &[i64], names: &mut Names) -> Rule<(Vec<Node>, Constants)> {
    let [condition] = condition else {
        return Err(Cause::Malformed(format!("its condition has {} elements; one expected", condition.len())));
    };
    let name = if *condition == 0 { "else_branch" } else { "then_branch" };
    let Some(Attribute::Graph(graph)) = node.attributes.shift_remove(name) else {
        return Err(Cause::Malformed(format!("it has no graph \"{name}\"")));
    };
    if graph.outputs.len() != node.outputs.len() || !graph.inputs.is_empty() {
        let (found, wanted) = (graph.outputs.len(), node.outputs.len());
        return Err(Cause::Malformed(format!("its \"{name}\" gives {found} values without inputs; {wanted} expected")));
    }
    let prefix = node.label().to_owned();
    let mut map = Renamed::new();
    let copies = name_outputs(&graph, &node.outputs, &prefix, &mut map, names);
    name_all(&graph, &prefix, &mut map, names);
    let Graph { mut nodes, initializers, .. } = *graph;
    nodes.iter_mut().for_each(|inner| rename(inner, &prefix, &map, names));
    nodes.extend(copies);
    let constants =
        initializers.into_iter().map(|(value, tensor)| (map.get(&value).cloned().flatten().unwrap_or(value), tensor));
    Ok((nodes, constants.collect()))
}
