//! One form per operator, whatever opset the file was written in.
//!
//! **The canonical operator set is version 18.** All later versions of the operators that classifiers consist of either admit
//! more element types or add options for other uses, while execution providers need new kernels for each of them: the CUDA
//! provider of ONNX Runtime lags behind there, and a node without a kernel silently runs on the CPU. 18 is the first version
//! in which all reductions, `Split`, `Pad` and `Resize` have the form that they have kept since.
//!
//! **Nothing is misread.** A node keeps its meaning from the file's version to 18 or it is refused by name. `versions`
//! lists the operators of the standard set with the version that brought each, and every version of an operator that
//! changed what a node means; crossing a change needs a rewrite, and where there is none the node is refused. The list was
//! made from the version histories in the ONNX specification: signatures compared mechanically, texts read for the changes
//! that signatures do not show (`Softmax` at 13, `Resize` at 11). A version that is not in it only admits more types, adds an
//! attribute whose default is the old behaviour, or words the same thing anew. Operators that the standard set of the file's version does
//! not have are refused; nodes of other domains are not touched.
//!
//! Besides, one thing is said in one way: local functions are written out, `Constant` nodes are initializers, `Dropout` is
//! `Identity`, `Softmax` states its axis, inputs that have no effect are absent, what ONNX Runtime fused is taken apart, an `If`
//! with a constant condition is its branch, and what no output depends on is left out. Subgraphs (`If`, `Loop`) are rewritten
//! like the graph around them.
//!
//! The first dimension of the input is the batch. Where the file leaves it open it is called so; where the file fixes it,
//! [`open_batch`](crate::open_batch) opens it. An input of bytes takes f32 and is rounded to them, so that every classifier's
//! input is floating-point.

mod attention;
mod backwards;
mod batch;
pub(crate) mod branches;
mod composite;
mod functions;
mod fused;
mod inputs;
mod quantized;
mod resize;
mod rotary;
mod scope;
mod softmax;
mod training;
mod types;
mod versions;

use std::collections::{HashMap, HashSet};

use crate::check::{Defect, check};
use crate::names::Names;
use crate::order::{drop_unused, reads, subgraphs};
use crate::{Adaptation, Attribute, Cause, Dimension, Graph, Model, Node, Rule, Tensor, Value, ValueInfo};
use functions::Inlined;
use scope::Scope;
use types::Types;
use versions::Change;

/// A model in which every node has the form of one opset.
#[derive(Clone, Debug)]
pub struct Canonical {
    pub(crate) model: Model,
    /// What was changed besides the form of nodes.
    pub(crate) adaptations: Vec<Adaptation>,
}

/// Why a model has no canonical form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CanonicalError {
    /// The operator set is too old, too new or missing.
    #[error(
        "the model is written in version {found} of the standard operator set; versions 7 to {newest} are supported: convert it with \
         onnx.version_converter, or export it again",
        newest = versions::NEWEST
    )]
    Opset {
        /// The version; 0 if the file does not say.
        found: i64,
    },
    /// A node cannot be brought to the canonical operator set.
    #[error("node \"{node}\" ({operator}): {cause}")]
    Node {
        /// Name of the node, or of its first output.
        node: String,
        /// Its operator.
        operator: String,
        /// Why.
        cause: Cause,
    },
    /// The model is not one that can be computed.
    #[error(transparent)]
    Defect(#[from] Defect),
}

impl Canonical {
    /// Version of the standard operator set that canonical models are written in.
    pub const OPSET: i64 = 18;

    /// `model` in canonical form.
    ///
    /// # Errors
    /// The operator set is not supported, or a node has no equivalent in the canonical one.
    pub fn new(mut model: Model) -> Result<Self, CanonicalError> {
        let opset = model.opsets.get("").copied().unwrap_or(0);
        if !supported(opset) {
            return Err(CanonicalError::Opset { found: opset });
        }
        check(&model)?;
        let mut names = Names::of(&model.graph);
        let mut adaptations = Vec::new();
        let Inlined { versions, functions } = functions::inline(&mut model, &mut names)?;
        if !functions.is_empty() {
            adaptations.push(Adaptation::FunctionsInlined { functions: functions.into_iter().collect() });
        }
        constants(&mut model.graph)?;
        let mut walk = Walk { opset, versions, names };
        walk.graph(&mut model.graph, None)?;
        let taken = branches::take(&mut model.graph, &mut walk.names, &|_| None);
        let taken = taken.map_err(|(node, cause)| at(&node, cause))?;
        if !taken.is_empty() {
            adaptations.push(Adaptation::BranchesTaken { nodes: taken });
        }
        batch::name(&mut model.graph);
        let to = quantized::widen_input(&mut model.graph, &mut walk.names);
        adaptations.extend(to.map(|to| Adaptation::InputRounded { to }));
        drop_unused(&mut model.graph);
        model.opsets.insert(String::new(), Self::OPSET);
        if model.graph.nodes.iter().any(|n| n.domain == quantized::RUNTIME) {
            model.opsets.entry(quantized::RUNTIME.to_owned()).or_insert(1);
        }
        let mut domains = HashSet::from([String::new()]);
        domains_of(&model.graph, &mut domains);
        model.opsets.retain(|domain, _| domains.contains(domain));
        model.ir_version = model.ir_version.max(Model::new(Self::OPSET, Graph::default()).ir_version);
        check(&model)?;
        Ok(Self { model, adaptations })
    }

    /// The batch size, if the file fixes it: the first dimension of all inputs.
    #[must_use]
    pub fn fixed_batch(&self) -> Option<usize> {
        let mut sizes = self.model.graph.inputs.iter().map(|input| match input.shape.as_ref()?.first()? {
            Dimension::Known(size) if *size > 0 => Some(*size),
            _ => None,
        });
        let first = sizes.next()??;
        sizes.all(|size| size == Some(first)).then_some(first)
    }

    /// What was changed besides the form of nodes, in order.
    #[must_use]
    pub fn adaptations(&self) -> &[Adaptation] {
        &self.adaptations
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The model with every value that a node computes as an output, to be run with two batch sizes (see [`crate::Probe`]).
    /// Values that are constant by themselves and inputs are not among its outputs.
    #[must_use]
    pub fn probe(&self) -> Model {
        let mut model = self.model.clone();
        let graph = &mut model.graph;
        let mut outputs: HashSet<&Value> = graph.outputs.iter().map(|o| &o.value).collect();
        let inner = graph.nodes.iter().flat_map(|n| n.outputs.iter().flatten());
        // The runtime knows their types.
        let inner: Vec<ValueInfo> =
            inner.filter(|v| outputs.insert(v)).map(|v| ValueInfo::untyped(v.clone())).collect();
        graph.outputs.extend(inner);
        model
    }
}

/// Whether models of this version of the standard operator set have a canonical form.
fn supported(opset: i64) -> bool {
    (7..=versions::NEWEST).contains(&opset)
}

/// Adds the domains of the operators in `graph`.
fn domains_of(graph: &Graph, domains: &mut HashSet<String>) {
    for node in &graph.nodes {
        domains.insert(node.domain.clone());
        subgraphs(node).for_each(|inner| domains_of(inner, domains));
    }
}

/// Makes `Constant` nodes initializers.
fn constants(graph: &mut Graph) -> Result<(), CanonicalError> {
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for mut node in std::mem::take(&mut graph.nodes) {
        if node.operator == "Constant" && node.domain.is_empty() {
            let tensor = constant(&node).map_err(|cause| at(&node, cause))?;
            graph.initializers.extend(node.output(0).map(|value| (value.clone(), tensor)));
            continue;
        }
        for attribute in node.attributes.values_mut() {
            if let Attribute::Graph(inner) = attribute {
                constants(inner)?;
            }
        }
        nodes.push(node);
    }
    graph.nodes = nodes;
    Ok(())
}

/// The tensor of a `Constant` node.
fn constant(node: &Node) -> Rule<Tensor> {
    let mut attributes = node.attributes.iter();
    let (Some((name, value)), None) = (attributes.next(), attributes.next()) else {
        return Err(Cause::Malformed("a constant has exactly one value".into()));
    };
    let strings = |dims, values: &[bytes::Bytes]| Tensor::text(dims, values.to_vec());
    let tensor = match (name.as_str(), value) {
        ("value", Attribute::Tensor(tensor)) => Some(tensor.clone()),
        ("value_float", Attribute::Float(v)) => Some(Tensor::floats(&[], &[*v])),
        ("value_floats", Attribute::Floats(v)) => Some(Tensor::floats(&[v.len()], v)),
        ("value_int", Attribute::Int(v)) => Tensor::ints(&[*v]).reshaped(Vec::new()),
        ("value_ints", Attribute::Ints(v)) => Some(Tensor::ints(v)),
        ("value_string", Attribute::String(v)) => strings(Vec::new(), std::slice::from_ref(v)),
        ("value_strings", Attribute::Strings(v)) => strings(vec![v.len()], v),
        _ => None,
    };
    tensor.ok_or_else(|| Cause::Unsupported(format!("a constant given by \"{name}\"; store it as a dense tensor")))
}

fn all_reads(graph: &Graph) -> HashSet<Value> {
    graph.nodes.iter().flat_map(reads).chain(graph.outputs.iter().map(|o| &o.value)).cloned().collect()
}

fn at(node: &Node, cause: Cause) -> CanonicalError {
    CanonicalError::at(node, cause)
}

impl CanonicalError {
    pub(crate) fn at(node: &Node, cause: Cause) -> Self {
        Self::Node { node: node.label().to_owned(), operator: node.operator.clone(), cause }
    }
}

/// Brings graphs from `opset` to the canonical one.
struct Walk {
    opset: i64,
    /// Of nodes that came from functions, by their first output.
    versions: HashMap<Value, i64>,
    names: Names,
}

impl Walk {
    /// `outer`: what is known in the graph around this one.
    fn graph(&mut self, graph: &mut Graph, outer: Option<&Types<'_>>) -> Result<(), CanonicalError> {
        let mut types = Types::of_graph(graph, outer);
        let read = all_reads(graph);
        let mut nodes = Vec::with_capacity(graph.nodes.len());
        for mut node in std::mem::take(&mut graph.nodes) {
            for attribute in node.attributes.values_mut() {
                if let Attribute::Graph(inner) = attribute {
                    self.graph(inner, Some(&types))?;
                }
            }
            let original = node.clone();
            let first = node.outputs.iter().flatten().next();
            let opset = first.and_then(|first| self.versions.get(first)).copied().unwrap_or(self.opset);
            let mut scope = Scope {
                initializers: &mut graph.initializers,
                names: &mut self.names,
                types: &types,
                read: &read,
                before: Vec::new(),
                after: Vec::new(),
            };
            if fused::knows(&node) {
                fused::take_apart(&mut node, &mut scope).map_err(|cause| at(&original, cause))?;
            } else if node.domain.is_empty() {
                rewrite(&mut node, opset, &mut scope).map_err(|cause| at(&original, cause))?;
            }
            let Scope { before, after, .. } = scope;
            nodes.extend(before);
            nodes.push(node);
            nodes.extend(after);
            types.add(&original);
        }
        graph.nodes = nodes;
        Ok(())
    }
}

/// Brings one node of the standard domain from `opset` to the canonical one.
fn rewrite(node: &mut Node, opset: i64, scope: &mut Scope<'_>) -> Rule<()> {
    if versions::introduced(&node.operator).is_none_or(|since| since > opset) {
        return Err(Cause::Malformed(format!("version {opset} of the standard operator set has no such operator")));
    }
    // Forwards or backwards; the other range is empty. A rewrite may rename the operator, which is then followed.
    for version in (opset + 1..=Canonical::OPSET).chain((Canonical::OPSET + 1..=opset).rev()) {
        match versions::change(&node.operator, version) {
            None => {}
            Some(Change::Rewrite(change)) => change(node, scope)?,
            Some(Change::Refuse(why)) => {
                let set = Canonical::OPSET;
                return Err(Cause::Unsupported(format!("{why}; export the model with operator set {set}")));
            }
        }
    }
    let since = versions::introduced(&node.operator).unwrap_or(opset);
    if since > Canonical::OPSET {
        return Err(Cause::Unsupported(format!("operators that came with set {since}; write it with older operators")));
    }
    versions::always(&node.operator).map_or(Ok(()), |normal| normal(node, scope))
}
