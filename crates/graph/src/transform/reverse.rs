//! The reverse walk: from outputs to inputs, one operator rule per node.

use std::collections::{HashMap, HashSet};

use crate::{Cause, Emit, Node, Rule, Shaped, TransformError, Value, operator};

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
    let mut cotangents = Cotangents { active: dependents(source, inputs), parts: HashMap::new() };
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

/// The values that depend on one of `inputs` through floating-point values all the way: `Shape` and what is computed from
/// it do not depend on the data, and nothing can be differentiated through an integer.
fn dependents(source: &Shaped, inputs: &[Value]) -> HashSet<Value> {
    let is_float = |v: &Value| source.facts(v).is_some_and(|f| f.dtype.is_float());
    let mut active: HashSet<Value> = inputs.iter().filter(|v| is_float(v)).cloned().collect();
    for node in &source.model().graph.nodes {
        if node.inputs.iter().flatten().any(|i| active.contains(i)) {
            active.extend(node.outputs.iter().flatten().filter(|v| is_float(v)).cloned());
        }
    }
    active
}
