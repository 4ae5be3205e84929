//! The reverse walk: from outputs to inputs, one operator rule per node.

use std::collections::{HashMap, HashSet};

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
    let Dependents { floats, integers } = dependents(source, inputs);
    let mut cotangents = Cotangents { active: floats, parts: HashMap::new() };
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
        if !wanted.contains(&true) {
            let cut = node.inputs.iter().flatten().find(|i| integers.contains(*i));
            cut.map_or(Ok(()), |cut| Err(TransformError::at(pass, node, only_through_integers(cut))))?;
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
    if !node.domain.is_empty() {
        return Err(Cause::NoRule);
    }
    operator(&node.operator).ok_or(Cause::NoRule)?.vjp(node, of_outputs, wanted, e)
}

fn only_through_integers(cut: &Value) -> Cause {
    Cause::Unsupported(format!(
        "\"{cut}\" holds integers computed from the input, so the derivative is zero almost everywhere and a gradient \
         attack would see nothing; use a black-box attack, or the model before it was rounded"
    ))
}

/// The values that depend on the elements of chosen inputs; what depends on their shapes only is in neither set.
struct Dependents {
    /// Floating-point values: those that a cotangent can reach.
    floats: HashSet<Value>,
    /// Integers. Booleans do not count: a mask is piecewise constant by intent, as in `x * (x > 0)`.
    integers: HashSet<Value>,
}

fn dependents(source: &Shaped, inputs: &[Value]) -> Dependents {
    let dtype = |v: &Value| source.facts(v).map(|f| f.dtype);
    let is_float = |v: &Value| dtype(v).is_some_and(DataType::is_float);
    let is_integer = |v: &Value| dtype(v).is_some_and(|d| !d.is_float() && d != DataType::Bool);
    let mut floats: HashSet<Value> = inputs.iter().filter(|v| is_float(v)).cloned().collect();
    let mut integers = HashSet::new();
    let nodes = &source.model().graph.nodes;
    for node in nodes.iter().filter(|n| !(n.domain.is_empty() && matches!(n.operator.as_str(), "Shape" | "Size"))) {
        let (inputs, outputs) = (|| node.inputs.iter().flatten(), || node.outputs.iter().flatten());
        if inputs().any(|i| floats.contains(i) || integers.contains(i)) {
            integers.extend(outputs().filter(|v| is_integer(v)).cloned());
            floats.extend(outputs().filter(|v| is_float(v)).cloned());
        }
    }
    Dependents { floats, integers }
}
