//! The model up to its logits: one output `[n, classes]`, and no final `Softmax` behind it.

use super::checked;
use crate::names::Names;
use crate::order::drop_unused;
use crate::{Adaptation, Canonical, Dim, Dimension, Facts, Node, Shaped, TransformError, Value};

const PASS: &str = "logits";

/// `source` with `output` (see [`Shaped::logits_in_file`]), in the shape `[n, classes]`, as the only output, and what was
/// changed for that.
///
/// A final `Softmax` or `LogSoftmax` over the classes becomes a copy, so that the output keeps its name and gives the logits:
/// probabilities have next to no gradient where a model is sure, and differ from logits in no prediction. `Identity`, `Cast`
/// and changes of shape may follow it. A final `Sigmoid` stays: nobody knows whether its classes exclude each other.
///
/// # Errors
/// The result does not pass the check: a defect of assay.
pub fn logits(mut source: Shaped, output: &Value) -> Result<(Shaped, Vec<Adaptation>), TransformError> {
    let mut adaptations = Vec::new();
    let softmax = softmax_before(&source, output);
    let mut model = source.model().clone();
    let others: Vec<Value> = model.graph.outputs.iter().map(|o| o.value.clone()).filter(|o| o != output).collect();
    if !others.is_empty() {
        model.graph.outputs.retain(|o| o.value == *output);
        adaptations.push(Adaptation::OutputChosen { output: output.clone(), others });
    }
    if let Some(node) = softmax.and_then(|i| model.graph.nodes.get_mut(i)) {
        let (name, operator) = (node.label().to_owned(), std::mem::replace(&mut node.operator, "Identity".into()));
        node.attributes.clear();
        adaptations.push(Adaptation::SoftmaxCut { node: name, operator });
    }
    drop_unused(&mut model.graph);
    let Canonical { adaptations: before, .. } = source.canonical;
    source.canonical = Canonical { model, adaptations: before };
    adaptations.extend(flatten(&mut source, output));
    source.canonical.model = checked(PASS, source.canonical.model)?;
    source.forget_unused();
    Ok((source, adaptations))
}

/// Takes the dimensions of size 1 off `output`, if it has any besides the classes. No node reads it: it is the only output.
fn flatten(source: &mut Shaped, output: &Value) -> Option<Adaptation> {
    let facts = source.facts(output)?.clone();
    let [batch, sizes @ ..] = facts.dims.as_slice() else { return None };
    let dims: Vec<usize> = sizes.iter().map(|d| if let Dim::Fixed(size) = d { *size } else { 0 }).collect();
    if dims.len() < 2 {
        return None;
    }
    let flat = Facts { dims: vec![*batch, Dim::Fixed(dims.iter().product())], ..facts.clone() };

    let graph = &mut source.canonical.model.graph;
    let mut names = Names::of(graph);
    let made = graph.nodes.iter_mut().flat_map(|n| n.outputs.iter_mut().flatten()).find(|v| *v == output)?;
    let whole = names.fresh(&format!("{output}:whole"));
    *made = whole.clone();
    let mut node = Node::new("Flatten", vec![Some(whole.clone())], vec![Some(output.clone())]);
    node.name = names.fresh(&format!("{output}/flatten")).to_string();
    graph.nodes.push(node);
    graph.value_info.retain(|info| info.value != *output);
    for info in &mut graph.outputs {
        if let Some(shape) = &mut info.shape {
            shape.truncate(1);
            shape.push(Dimension::Known(dims.iter().product()));
        }
    }
    source.shapes.0.insert(whole, facts);
    source.shapes.0.insert(output.clone(), flat);
    Some(Adaptation::LogitsFlattened { output: output.clone(), dims })
}

/// Position of the `Softmax` or `LogSoftmax` over all classes that `output` is, but for its shape and type.
fn softmax_before(source: &Shaped, output: &Value) -> Option<usize> {
    let dims = |value: &Value| source.facts(value).map(|facts| facts.dims.as_slice());
    let classes = dims(output)?.iter().skip(1).find(|d| **d != Dim::Fixed(1)).copied().unwrap_or(Dim::Fixed(1));
    let nodes = &source.model().graph.nodes;
    let mut value = output;
    loop {
        let position = nodes.iter().position(|node| node.output(0) == Some(value))?;
        let node = &nodes[position];
        let input = node.input(0)?;
        match node.operator.as_str() {
            _ if !node.domain.is_empty() => return None,
            "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => value = input,
            "Cast" if source.facts(input)?.dtype.is_float() => value = input,
            "Softmax" | "LogSoftmax" => return over(node, dims(input)?, classes).then_some(position),
            _ => return None,
        }
    }
}

/// Whether `node` normalises over the dimension of the classes, beside which there is the batch only.
fn over(node: &Node, dims: &[Dim], classes: Dim) -> bool {
    let rank = i64::try_from(dims.len()).unwrap_or(i64::MAX);
    let axis = node.int("axis", -1).ok().map(|axis| if axis < 0 { axis + rank } else { axis });
    let axis = axis.and_then(|axis| usize::try_from(axis).ok());
    axis.is_some_and(|axis| {
        axis > 0
            && dims.get(axis) == Some(&classes)
            && dims.iter().enumerate().skip(1).all(|(i, &dim)| i == axis || dim == Dim::Fixed(1))
    })
}
