//! Local functions: each call is replaced by what the function consists of.
//!
//! Exporters write them for modules (`torch.onnx` with `dynamo=True`, onnxscript). A function has operator sets of its own,
//! so that each node it leaves behind remembers in which version of the standard set it was written.

use std::collections::{HashMap, HashSet};

use indexmap::{IndexMap, IndexSet};

use super::{CanonicalError, at, supported};
use crate::names::Names;
use crate::order::{defined, reads};
use crate::rename::{Renamed, name_all, name_outputs, rename};
use crate::{Attribute, Cause, Function, Graph, Limits, Model, Node, Rule, Value};

/// How deeply functions may call each other.
const DEPTH: usize = 64;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Inlined {
    /// Version of the standard operator set of nodes that came from functions, by their first output.
    pub(super) versions: HashMap<Value, i64>,
    /// Names of the functions that were called.
    pub(super) functions: IndexSet<String>,
}

/// Replaces the calls of local functions in `model`, which has none afterwards.
///
/// # Errors
/// A call does not fit its function; functions call each other without end, or make too large a model; a function is written
/// in another version of a custom domain than the model.
pub(super) fn inline(model: &mut Model, names: &mut Names) -> Result<Inlined, CanonicalError> {
    let functions = std::mem::take(&mut model.functions);
    if functions.is_empty() {
        return Ok(Inlined::default());
    }
    let by_name = functions.iter().map(|f| ((f.domain.as_str(), f.name.as_str(), f.overload.as_str()), f)).collect();
    let opsets = model.opsets.clone();
    let mut inliner =
        Inliner { functions: by_name, opsets: &mut model.opsets, names, nodes: 0, inlined: Inlined::default() };
    inliner.graph(&mut model.graph, &opsets, 0)?;
    Ok(inliner.inlined)
}

struct Inliner<'f> {
    functions: HashMap<(&'f str, &'f str, &'f str), &'f Function>,
    /// Of the model: gets those of custom domains that functions import.
    opsets: &'f mut IndexMap<String, i64>,
    names: &'f mut Names,
    nodes: usize,
    inlined: Inlined,
}

impl<'f> Inliner<'f> {
    /// `opsets`: the versions that the nodes of `graph` are written in.
    fn graph(&mut self, graph: &mut Graph, opsets: &IndexMap<String, i64>, depth: usize) -> Result<(), CanonicalError> {
        let mut nodes = Vec::with_capacity(graph.nodes.len());
        for node in std::mem::take(&mut graph.nodes) {
            self.node(node, opsets, depth, &mut nodes)?;
        }
        graph.nodes = nodes;
        Ok(())
    }

    fn node(
        &mut self,
        mut node: Node,
        opsets: &IndexMap<String, i64>,
        depth: usize,
        done: &mut Vec<Node>,
    ) -> Result<(), CanonicalError> {
        for attribute in node.attributes.values_mut() {
            if let Attribute::Graph(inner) = attribute {
                self.graph(inner, opsets, depth)?;
            }
        }
        let key = (node.domain.as_str(), node.operator.as_str(), node.overload.as_str());
        let Some(&function) = self.functions.get(&key) else {
            self.keep(&node, opsets).map_err(|cause| at(&node, cause))?;
            done.push(node);
            return Ok(());
        };
        if depth == DEPTH {
            let text = format!("functions that call each other more than {DEPTH} deep");
            return Err(at(&node, Cause::Unsupported(text)));
        }
        let body = self.expand(function, &node).map_err(|cause| at(&node, cause))?;
        self.inlined.functions.insert(function.name.clone());
        for inner in body {
            self.node(inner, &function.opsets, depth + 1, done)?;
        }
        Ok(())
    }

    /// Notes what a node that is no call was written in.
    fn keep(&mut self, node: &Node, opsets: &IndexMap<String, i64>) -> Rule<()> {
        let most = Limits::default().nodes;
        self.nodes += 1;
        if self.nodes > most {
            return Err(Cause::Unsupported(format!("more than {most} nodes when functions are written out")));
        }
        let Some(&version) = opsets.get(&node.domain) else {
            let domain = if node.domain.is_empty() { "the standard domain" } else { &node.domain };
            return Err(Cause::Malformed(format!(
                "the function does not say which version of {domain} it is written in"
            )));
        };
        if node.domain.is_empty() {
            if !supported(version) {
                let text = format!("its function is written in version {version} of the standard operator set");
                return Err(Cause::Unsupported(text));
            }
            self.inlined.versions.extend(node.outputs.iter().flatten().next().map(|first| (first.clone(), version)));
            return Ok(());
        }
        match self.opsets.entry(node.domain.clone()).or_insert(version) {
            other if *other == version => Ok(()),
            other => Err(Cause::Unsupported(format!(
                "its function is written in version {version} of {}, and other parts of the model in version {other}",
                node.domain
            ))),
        }
    }

    /// The nodes of `function` for the call `call`.
    fn expand(&mut self, function: &Function, call: &Node) -> Rule<Vec<Node>> {
        let Function { name, body, .. } = function;
        if call.inputs.len() > body.inputs.len() || call.outputs.len() > body.outputs.len() {
            let ((i, o), (inputs, outputs)) =
                ((call.inputs.len(), call.outputs.len()), (body.inputs.len(), body.outputs.len()));
            return Err(Cause::Malformed(format!(
                "{i} inputs and {o} outputs in a call of function \"{name}\", which has {inputs} and {outputs}"
            )));
        }
        let given: HashSet<&Value> = defined(body).collect();
        let read = body.nodes.iter().flat_map(reads).chain(body.outputs.iter().map(|o| &o.value));
        if let Some(value) = read.into_iter().find(|value| !given.contains(*value)) {
            return Err(Cause::Malformed(format!("function \"{name}\" reads \"{value}\", which nothing in it gives")));
        }
        let prefix = call.label();
        let mut map: Renamed =
            body.inputs.iter().enumerate().map(|(i, info)| (info.value.clone(), call.input(i).cloned())).collect();
        let copies = name_outputs(body, &call.outputs, prefix, &mut map, self.names);
        name_all(body, prefix, &mut map, self.names);
        let mut nodes = body.nodes.clone();
        for node in &mut nodes {
            bind(node, function, call)?;
            rename(node, prefix, &map, self.names);
        }
        if let Some(copy) = copies.iter().find(|copy| copy.input(0).is_none()) {
            let output = copy.label();
            return Err(Cause::Malformed(format!(
                "\"{output}\" is an input of function \"{name}\" that the call leaves out"
            )));
        }
        nodes.extend(copies);
        Ok(nodes)
    }
}

/// Replaces the attributes of `node` that refer to those of the call. What neither the call nor a default gives is absent.
fn bind(node: &mut Node, function: &Function, call: &Node) -> Rule<()> {
    for (name, attribute) in std::mem::take(&mut node.attributes) {
        let bound = match attribute {
            Attribute::Reference { name, .. } => {
                let given = call.attributes.get(&name).or_else(|| function.defaults.get(&name));
                if matches!(given, Some(Attribute::Graph(_))) {
                    return Err(Cause::Unsupported(format!("a graph as attribute \"{name}\" of a call")));
                }
                given.cloned()
            }
            Attribute::Graph(mut graph) => {
                graph.nodes.iter_mut().try_for_each(|inner| bind(inner, function, call))?;
                Some(Attribute::Graph(graph))
            }
            other => Some(other),
        };
        node.attributes.extend(bound.map(|attribute| (name, attribute)));
    }
    Ok(())
}
