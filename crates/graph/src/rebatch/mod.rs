//! The batch size of a file that fixes it, left open.
//!
//! Exporters that are given one sample write its batch size into every constant target: `Reshape(x, [1, 197, 768])`, a class
//! token `[1, 1, 768]` that is put before the patches, windows merged into the batch, heads merged with it. This pass follows
//! the batch from the input through every node ([`layout`]), rewrites the constants on its way, and repeats constants that are
//! joined with it. Where a batch of one leaves open which dimension is the batch, the choices are tried in the order of their
//! likelihood until the rest of the model makes sense with them.
//!
//! What comes out is plausible and not proven: the runtime compares it with the file, sample by sample, before it is hosted.

mod choices;
mod edits;
mod layout;
mod rules;

use std::collections::HashMap;

use crate::names::Names;
use crate::order::{drop_unused, reads};
use crate::{Canonical, Cause, Dim, Dimension, Model, Node, Rule, Shaped, TransformError, Value, check};
use choices::Choices;
use edits::Edit;
use layout::Layout;

const PASS: &str = "open the batch";

/// `source`, a model whose input has a fixed first dimension and whose values were seen at that batch size, for batches of
/// any size.
///
/// # Errors
/// The input is not the only one, or a node mixes samples or cannot be followed.
pub fn open_batch(source: &Shaped) -> Result<Canonical, TransformError> {
    let graph = &source.model().graph;
    let of_model = |text: String| TransformError::of_model(PASS, Cause::Unsupported(text));
    let [input] = graph.inputs.as_slice() else {
        return Err(of_model(format!("{} inputs; a classifier has one", graph.inputs.len())));
    };
    let size = match sizes(source, &input.value).first() {
        Some(&size) if size > 0 => size,
        _ => return Err(of_model(format!("input \"{}\" has no batch dimension", input.value))),
    };
    let mut choices = Choices::default();
    let mut first = None;
    let edits = loop {
        match follow(source, &input.value, size, &mut choices) {
            Ok(edits) => break edits,
            Err(error) => {
                let error = first.get_or_insert(error);
                if !choices.next() {
                    return Err(error.clone());
                }
            }
        }
    };
    let mut canonical = source.canonical().clone();
    apply(&mut canonical.model, edits).map_err(|cause| TransformError::of_model(PASS, cause))?;
    check(&canonical.model).map_err(|defect| of_model(defect.to_string()))?;
    Ok(canonical)
}

/// What has to be changed, node by node.
fn follow(
    source: &Shaped,
    input: &Value,
    size: usize,
    choices: &mut Choices,
) -> Result<Vec<(usize, Edit)>, TransformError> {
    choices.restart();
    let graph = &source.model().graph;
    let mut layouts = HashMap::from([(input.clone(), Layout::first())]);
    let mut edits = Vec::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        if !reads(node).iter().any(|value| layouts.contains_key(*value)) {
            continue;
        }
        let mut step = Step { source, layouts: &layouts, size, choices, edits: Vec::new() };
        let of_outputs = rules::outputs(node, &mut step).map_err(|cause| TransformError::at(PASS, node, cause))?;
        edits.extend(step.edits.into_iter().map(|edit| (i, edit)));
        for value in node.outputs.iter().flatten() {
            layouts.insert(value.clone(), of_outputs);
        }
    }
    let classifies = graph.outputs.iter().any(|output| layouts.get(&output.value) == Some(&Layout::first()));
    let missing = || Cause::Unsupported("no output has the batch as its first dimension".into());
    classifies.then_some(edits).ok_or_else(|| TransformError::of_model(PASS, missing()))
}

/// What the rule of one node sees and says.
struct Step<'s> {
    source: &'s Shaped,
    layouts: &'s HashMap<Value, Layout>,
    /// The batch size that the file fixes.
    size: usize,
    choices: &'s mut Choices,
    edits: Vec<Edit>,
}

impl Step<'_> {
    fn dims(&self, value: &Value) -> Vec<usize> {
        sizes(self.source, value)
    }

    /// Where the batch is in input `i`; `None` if the input does not depend on it, or is absent.
    fn layout(&self, node: &Node, i: usize) -> Option<Layout> {
        self.layouts.get(node.input(i)?).copied()
    }

    /// Integers of the constant input `i`.
    fn ints(&self, node: &Node, i: usize) -> Rule<Option<Vec<i64>>> {
        let Some(value) = node.input(i) else { return Ok(None) };
        let constant = self.source.constant(value).and_then(crate::Tensor::to_i64);
        constant.map(Some).ok_or_else(|| Cause::Unsupported(format!("\"{value}\" is computed from the input")))
    }
}

/// Shape of a value at the batch size that the file fixes.
fn sizes(source: &Shaped, value: &Value) -> Vec<usize> {
    let dims = source.facts(value).map_or(&[][..], |facts| &facts.dims);
    dims.iter().map(|&(Dim::Fixed(size) | Dim::Batch(size))| size).collect()
}

fn apply(model: &mut Model, edits: Vec<(usize, Edit)>) -> Rule<()> {
    let mut names = Names::of(&model.graph);
    let mut writer = edits::Writer::new(&mut model.graph, &mut names);
    for (node, edit) in edits {
        writer.write(node, edit)?;
    }
    writer.finish();
    let graph = &mut model.graph;
    graph.value_info.clear();
    for info in graph.inputs.iter_mut().chain(&mut graph.outputs) {
        if let Some(first) = info.shape.as_mut().and_then(|dims| dims.first_mut()) {
            *first = Dimension::Symbol("batch".into());
        }
    }
    // Declared for one batch size: what follows the first dimension may be a multiple of it.
    graph.outputs.iter_mut().for_each(|output| output.shape = None);
    drop_unused(graph);
    Ok(())
}
