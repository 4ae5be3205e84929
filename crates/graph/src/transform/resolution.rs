//! Whether the rest of a model can take maps of another size.

use std::collections::{BTreeSet, HashMap};

use crate::order::{reads, subgraphs};
use crate::{Cause, Dim, Node, Rule, Shaped, TransformError, Value};

/// Follows maps whose size changes from the values `changed` through the model, along all axes from the third on.
///
/// # Errors
/// A node needs the size that a map had: it takes its positions as features, combines it with a map that keeps its size, or is not
/// known to take any size.
pub(super) fn follow(pass: &'static str, source: &Shaped, changed: &[Value]) -> Result<(), TransformError> {
    let rank = |value: &Value| source.facts(value).map_or(0, |facts| facts.dims.len());
    let mut maps: HashMap<&Value, BTreeSet<usize>> = changed.iter().map(|v| (v, (2..rank(v)).collect())).collect();
    for node in &source.model().graph.nodes {
        if reads(node).iter().any(|value| maps.contains_key(*value)) {
            let axes = outputs(node, source, &maps).map_err(|cause| TransformError::at(pass, node, cause))?;
            for output in node.outputs.iter().flatten().filter(|_| !axes.is_empty()) {
                maps.entry(output).or_default().extend(&axes);
            }
        }
    }
    match source.model().graph.outputs.iter().find(|output| maps.contains_key(&output.value)) {
        Some(output) => Err(TransformError::of_model(
            pass,
            Cause::Unsupported(format!("the size of the map reaches the output \"{}\"; {REMEDY}", output.value)),
        )),
        None => Ok(()),
    }
}

const REMEDY: &str = "the model needs a global average pool before its head";

/// The axes of the outputs that change with those of the inputs.
fn outputs(node: &Node, source: &Shaped, maps: &HashMap<&Value, BTreeSet<usize>>) -> Rule<BTreeSet<usize>> {
    if !node.domain.is_empty() || subgraphs(node).next().is_some() {
        return Err(Cause::NoRule);
    }
    let none = BTreeSet::new();
    let axes = |i: usize| node.input(i).and_then(|value| maps.get(value)).unwrap_or(&none);
    let rank = |value: &Value| source.facts(value).map_or(0, |facts| facts.dims.len());
    match node.operator.as_str() {
        // Weights, and what else a node reads, keep their size.
        "Conv"
        | "ConvTranspose"
        | "MaxPool"
        | "AveragePool"
        | "BatchNormalization"
        | "LRN"
        | "Pad"
        | "InstanceNormalization" => Ok(axes(0).clone()),
        "Resize" if node.input(2).is_some() && node.input(3).is_none() => Ok(axes(0).clone()),
        "GlobalAveragePool" | "GlobalMaxPool" => Ok(BTreeSet::new()),
        "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceSum" | "ReduceL2" => {
            reduced(node, source, axes(0), rank(node.required(0)?))
        }
        // Sizes that are computed follow.
        "Shape" => Ok(none),
        "Transpose" | "Unsqueeze" | "Squeeze" | "Gather" | "Slice" => moved(node, source, axes(0)),
        "Concat" | "Split" | "Softmax" | "LogSoftmax" | "LayerNormalization" => along(node, source, maps),
        // Channels last: every position by itself.
        "MatMul"
            if axes(1).is_empty()
                && rank(node.required(1)?) == 2
                && !axes(0).contains(&(rank(node.required(0)?) - 1)) =>
        {
            Ok(axes(0).clone())
        }
        "Flatten" | "Reshape" | "Gemm" | "MatMul" => {
            let map = node.inputs.iter().flatten().find(|x| maps.contains_key(x));
            let dims = map.and_then(|x| source.facts(x)).map_or(&[][..], |facts| &facts.dims);
            let dims: Vec<String> = dims.iter().map(Dim::to_string).collect();
            let dims = dims.join(", ");
            Err(Cause::Unsupported(format!("it takes every position of the map [{dims}] as a feature; {REMEDY}")))
        }
        _ if is_elementwise(node) => together(node, source, maps),
        _ => Err(Cause::NoRule),
    }
}

fn is_elementwise(node: &Node) -> bool {
    let class = crate::operator(&node.operator).map(crate::Operator::class);
    matches!(class, Some(crate::Class::Elementwise | crate::Class::Monotone))
        || matches!(
            node.operator.as_str(),
            "Add" | "Sub" | "Mul" | "Div" | "Sum" | "Neg" | "Cast" | "Identity" | "Where" | "Pow"
        )
}

/// Where the axes of the first input are in the output of what moves or drops axes.
fn moved(node: &Node, source: &Shaped, axes: &BTreeSet<usize>) -> Rule<BTreeSet<usize>> {
    let (x, y) = (node.required(0)?, node.output(0).ok_or_else(|| Cause::Malformed("output 0 is required".into()))?);
    let [from, to] = [x, y].map(|value| source.facts(value).map_or(&[][..], |facts| &facts.dims));
    let constant = |i: usize| node.input(i).and_then(|v| source.constant(v)).and_then(crate::Tensor::to_i64);
    let listed = |rank: usize| -> Rule<Vec<usize>> {
        let list = constant(1).ok_or_else(|| Cause::Unsupported("axes that are computed or not stated".into()))?;
        list.iter().map(|&a| crate::ops::axis(a, rank)).collect()
    };
    let places: Vec<Option<usize>> = match node.operator.as_str() {
        "Transpose" => {
            let reversed: Vec<i64> = (0..).take(from.len()).collect::<Vec<i64>>().into_iter().rev().collect();
            let perm = node.ints("perm")?.unwrap_or(&reversed);
            let perm: Vec<usize> = perm.iter().map(|&a| crate::ops::axis(a, from.len())).collect::<Rule<_>>()?;
            (0..from.len()).map(|axis| perm.iter().position(|&p| p == axis)).collect()
        }
        "Unsqueeze" => {
            let new = listed(to.len())?;
            (0..to.len()).filter(|axis| !new.contains(axis)).map(Some).collect()
        }
        "Squeeze" => {
            let gone = listed(from.len())?;
            let place = |axis: usize| axis - gone.iter().filter(|&&g| g < axis).count();
            (0..from.len()).map(|axis| (!gone.contains(&axis)).then(|| place(axis))).collect()
        }
        "Gather" => {
            let at = crate::ops::axis(node.int("axis", 0)?, from.len())?;
            let place = |axis: usize| if axis < at { axis } else { axis + to.len() - from.len() };
            (0..from.len()).map(|axis| (axis != at).then(|| place(axis))).collect()
        }
        // A part of an axis, which must not be one that changes.
        _ => (0..from.len()).map(|axis| (from.get(axis) == to.get(axis)).then_some(axis)).collect(),
    };
    let place = |&axis: &usize| places.get(axis).copied().flatten();
    let lost = || Cause::Unsupported(format!("it takes single positions of the map; {REMEDY}"));
    axes.iter().map(|axis| place(axis).ok_or_else(lost)).collect()
}

/// Inputs that are broadcast: those that do not change must have one position along an axis that does.
fn together(node: &Node, source: &Shaped, maps: &HashMap<&Value, BTreeSet<usize>>) -> Rule<BTreeSet<usize>> {
    let rank = |value: &Value| source.facts(value).map_or(0, |facts| facts.dims.len());
    let widest = node.inputs.iter().flatten().map(rank).max().unwrap_or(0);
    let changing = node.inputs.iter().flatten().filter_map(|x| Some((x, maps.get(x)?)));
    let axes: BTreeSet<usize> =
        changing.flat_map(|(x, axes)| axes.iter().map(|axis| axis + widest - rank(x)).collect::<Vec<_>>()).collect();
    for x in node.inputs.iter().flatten() {
        let dims = source.facts(x).map_or(&[][..], |facts| &facts.dims);
        let lead = widest - dims.len();
        let keeps = |axis: &usize| !maps.get(x).is_some_and(|axes| axes.contains(&(axis - lead)));
        let fixed = axes.iter().filter(|axis| **axis >= lead && keeps(axis));
        if let Some(axis) = fixed.into_iter().find(|axis| dims[**axis - lead] != Dim::Fixed(1)) {
            return Err(Cause::Unsupported(format!(
                "its input \"{x}\" keeps a size of {} where the map changes; change what makes it in the same way",
                dims[axis - lead]
            )));
        }
    }
    Ok(axes)
}

/// What works along one axis, or joins inputs there, which must not be one that changes.
fn along(node: &Node, source: &Shaped, maps: &HashMap<&Value, BTreeSet<usize>>) -> Rule<BTreeSet<usize>> {
    let default = if node.operator == "Split" { 0 } else { -1 };
    let rank = source.facts(node.required(0)?).map_or(0, |facts| facts.dims.len());
    let axis = crate::ops::axis(node.int("axis", default)?, rank)?;
    let axes: BTreeSet<usize> = node.inputs.iter().flatten().filter_map(|x| maps.get(x)).flatten().copied().collect();
    let last = if node.operator == "LayerNormalization" { rank } else { axis + 1 };
    if axes.iter().any(|a| (axis..last).contains(a)) {
        return Err(Cause::Unsupported(format!("it works along an axis of the map; {REMEDY}")));
    }
    let kept = node.inputs.iter().flatten().find(|x| node.operator == "Concat" && !maps.contains_key(x));
    match kept {
        Some(x) => Err(Cause::Unsupported(format!(
            "its input \"{x}\" keeps its size where the others change; change what makes it in the same way"
        ))),
        None => Ok(axes),
    }
}

/// Axes that are reduced have one position, whatever they had.
fn reduced(node: &Node, source: &Shaped, axes: &BTreeSet<usize>, rank: usize) -> Rule<BTreeSet<usize>> {
    let given =
        node.input(1).and_then(|axes| source.constant(axes)).and_then(crate::Tensor::to_i64).unwrap_or_default();
    let gone: BTreeSet<usize> = given.iter().map(|&a| crate::ops::axis(a, rank)).collect::<Rule<_>>()?;
    let left = axes.iter().filter(|axis| !gone.contains(axis));
    let dropped = |axis: &usize| if node.int("keepdims", 1) == Ok(0) { gone.range(..axis).count() } else { 0 };
    if given.is_empty() {
        return if node.int("noop_with_empty_axes", 0)? == 0 { Ok(BTreeSet::new()) } else { Ok(axes.clone()) };
    }
    Ok(left.map(|axis| axis - dropped(axis)).collect())
}
