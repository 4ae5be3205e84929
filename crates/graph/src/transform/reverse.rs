//! The reverse walk: from outputs to inputs, one operator rule per node.

use std::collections::{HashMap, HashSet};

use crate::order::{reads, subgraphs};
use crate::{Cause, DataType, Emit, Node, Rule, Shaped, TransformError, Value, operator};

/// Cotangents by value: the contributions of the nodes that read it, until they are summed.
///
/// A value without an entry has the cotangent zero, so that what does not matter costs no nodes.
struct Cotangents {
    /// The values whose cotangents are of interest; contributions to others are dropped.
    active: HashSet<Value>,
    parts: HashMap<Value, Vec<Value>>,
}

impl Cotangents {
    fn add(&mut self, value: &Value, part: Value) {
        if self.active.contains(value) {
            self.parts.entry(value.clone()).or_default().push(part);
        }
    }

    /// The sum of what was added for `value`.
    fn total(&mut self, value: &Value, e: &mut Emit<'_>) -> Option<Value> {
        let parts = self.parts.get_mut(value)?;
        if parts.len() > 1 {
            let all: Vec<&Value> = parts.iter().collect();
            let sum = e.op(if all.len() == 2 { "Add" } else { "Sum" }, &all);
            *parts = vec![sum];
        }
        parts.first().cloned()
    }
}

/// Pulls the cotangents `seeds` (value of the source model, its cotangent) back to `inputs`; `None` where a derivative is
/// zero because no differentiable path leads there.
///
/// `pass` names the transformation, in emitted names and in errors.
pub(super) fn reverse(
    pass: &'static str,
    e: &mut Emit<'_>,
    seeds: impl IntoIterator<Item = (Value, Value)>,
    inputs: &[Value],
) -> Result<Vec<Option<Value>>, TransformError> {
    let source = e.source();
    let Dependents { carriers, integers } = dependents(source, inputs);
    let mut cotangents = Cotangents { active: carriers, parts: HashMap::new() };
    for (value, seed) in seeds {
        cotangents.add(&value, seed);
    }
    for node in source.model().graph.nodes.iter().rev() {
        e.scope(pass, node.label());
        let of_outputs: Vec<Option<Value>> =
            node.outputs.iter().map(|o| o.as_ref().and_then(|o| cotangents.total(o, e))).collect();
        if of_outputs.iter().all(Option::is_none) {
            continue;
        }
        let wanted: Vec<bool> =
            node.inputs.iter().map(|i| i.as_ref().is_some_and(|i| cotangents.active.contains(i))).collect();
        // A subgraph may read what is not among the node's inputs: then a rule is needed all the same.
        let captured = subgraphs(node).next().is_some() && reads(node).iter().any(|v| cotangents.active.contains(*v));
        if !wanted.contains(&true) && !captured {
            let cut = node.inputs.iter().flatten().find(|i| integers.contains(*i));
            cut.map_or(Ok(()), |cut| {
                let cause = only_through_integers(source, cut, &integers);
                Err(TransformError::at(pass, node, cause))
            })?;
            continue;
        }
        let of_inputs =
            pull_back(node, &of_outputs, &wanted, e).map_err(|cause| TransformError::at(pass, node, cause))?;
        for ((input, part), _) in node.inputs.iter().zip(of_inputs).zip(&wanted).filter(|(_, wanted)| **wanted) {
            if let (Some(input), Some(part)) = (input, part) {
                cotangents.add(input, part);
            }
        }
    }
    e.scope(pass, "");
    Ok(inputs.iter().map(|input| cotangents.total(input, e)).collect())
}

fn pull_back(node: &Node, of_outputs: &[Option<Value>], wanted: &[bool], e: &mut Emit<'_>) -> Rule<Vec<Option<Value>>> {
    // ONNX Runtime has its own versions of these two for 16 bits, which mean the same.
    let standard = node.domain.is_empty()
        || (node.domain == "com.microsoft" && matches!(node.operator.as_str(), "QuantizeLinear" | "DequantizeLinear"));
    match operator(&node.operator).filter(|_| standard) {
        Some(operator) => operator.vjp(node, of_outputs, wanted, e),
        None if node.domain.is_empty() && FLAT.contains(&node.operator.as_str()) => Err(Cause::Unsupported(format!(
            "{} is constant almost everywhere, so its derivative is zero and a gradient attack would see nothing; {REMEDY}",
            node.operator
        ))),
        None => Err(Cause::NoRule),
    }
}

/// Operators from floating-point numbers to floating-point numbers whose derivative is zero almost everywhere.
const FLAT: [&str; 5] = ["Ceil", "Floor", "Hardmax", "Round", "Sign"];

const REMEDY: &str = "use a black-box attack, or the model before it was rounded";

/// `cut` is read on the way to the output.
fn only_through_integers(source: &Shaped, cut: &Value, integers: &HashSet<Value>) -> Cause {
    let producer =
        |value: &Value| source.model().graph.nodes.iter().find(|n| n.outputs.iter().flatten().any(|o| o == value));
    // Integers that are moved about come from where floating-point numbers became integers.
    let mut origin = producer(cut);
    while let Some(from) = origin.and_then(|n| n.inputs.iter().flatten().find(|i| integers.contains(*i))) {
        origin = producer(from);
    }
    let by = origin.map_or(String::new(), |n| format!(" by node \"{}\" ({})", n.label(), n.operator));
    Cause::Unsupported(format!(
        "\"{cut}\" holds integers computed from the input{by}, so the derivative is zero almost everywhere and a gradient \
         attack would see nothing; {REMEDY}"
    ))
}

/// Why no cotangent reaches `input` from `outputs`: the nodes at which numbers become masks on the way.
pub(super) fn no_path(pass: &'static str, source: &Shaped, input: &Value, outputs: &[Value]) -> TransformError {
    let Dependents { carriers, .. } = dependents(source, std::slice::from_ref(input));
    let mut needed: HashSet<&Value> = outputs.iter().collect();
    let mut cuts = Vec::new();
    for node in source.model().graph.nodes.iter().rev() {
        if !node.outputs.iter().flatten().any(|o| needed.contains(o)) {
            continue;
        }
        let reads_numbers = reads(node).into_iter().any(|i| carriers.contains(i));
        let gives_numbers = node.outputs.iter().flatten().any(|o| carriers.contains(o));
        if reads_numbers && !gives_numbers && !is_about_shape(node) {
            cuts.push(node);
        }
        needed.extend(reads(node));
    }
    let first = cuts.last();
    let names: Vec<String> = cuts.iter().rev().take(3).map(|n| format!("\"{}\" ({})", n.label(), n.operator)).collect();
    let why = if names.is_empty() {
        "the output does not depend on its elements".to_owned()
    } else {
        format!("its elements only decide what is chosen, at {}; {REMEDY}", names.join(", "))
    };
    let cause = Cause::Unsupported(format!(
        "no differentiable path leads from \"{input}\" to the output: the gradient is zero everywhere, because {why}"
    ));
    first.map_or_else(
        || TransformError::of_model(pass, cause.clone()),
        |node| TransformError::at(pass, node, cause.clone()),
    )
}

/// The values that depend on the elements of chosen inputs; what depends on their shapes only is in neither set.
struct Dependents {
    /// The values that a cotangent can reach: floating-point numbers, and integers that were quantized from such.
    carriers: HashSet<Value>,
    /// Other integers. Booleans do not count: a mask is piecewise constant by intent, as in `x * (x > 0)`.
    integers: HashSet<Value>,
}

fn dependents(source: &Shaped, inputs: &[Value]) -> Dependents {
    let dtype = |v: &Value| source.facts(v).map(|f| f.dtype);
    let is_float = |v: &Value| dtype(v).is_some_and(DataType::is_float);
    let is_integer = |v: &Value| dtype(v).is_some_and(|d| !d.is_float() && d != DataType::Bool);
    let mut carriers: HashSet<Value> = inputs.iter().filter(|v| is_float(v)).cloned().collect();
    let mut integers = HashSet::new();
    for node in source.model().graph.nodes.iter().filter(|n| !is_about_shape(n)) {
        let outputs = || node.outputs.iter().flatten();
        if reads(node).into_iter().any(|i| carriers.contains(i) || integers.contains(i)) {
            let quantized = matches!(node.operator.as_str(), "QuantizeLinear" | "DynamicQuantizeLinear")
                .then(|| node.output(0))
                .flatten()
                .filter(|_| node.input(0).is_some_and(|x| carriers.contains(x)));
            integers.extend(outputs().filter(|v| is_integer(v) && Some(*v) != quantized).cloned());
            carriers.extend(outputs().filter(|v| is_float(v)).chain(quantized).cloned());
        }
    }
    Dependents { carriers, integers }
}

/// Whether `node` reads the shape of its input and not its elements.
fn is_about_shape(node: &Node) -> bool {
    node.domain.is_empty() && matches!(node.operator.as_str(), "Shape" | "Size")
}
