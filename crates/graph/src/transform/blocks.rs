//! Layer pruning: residual blocks, and their removal.
//!
//! A residual block adds what a branch makes of a value to that value. Without the branch it is the identity, so a block whose
//! shortcut is its input unchanged can be removed: what reads the sum reads the input instead, an activation behind the sum among
//! them.

use std::collections::{HashMap, HashSet};

use super::checked;
use crate::names::Names;
use crate::order::{drop_unused, reads, rename_reads};
use crate::{Cause, Dim, Graph, Model, Node, Shaped, TransformError, Value};

const PASS: &str = "remove blocks";

/// A residual block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What it gives, the sum of shortcut and branch. It names the block.
    pub output: Value,
    /// What goes in: the last value that shortcut and branch have in common.
    pub input: Value,
    /// The nodes between input and sum, in the model's order: names, or first outputs.
    pub branch: Vec<String>,
    /// Shape of its output.
    pub dims: Vec<Dim>,
    /// Which stage it is in, from 0: blocks in a row whose outputs have the same shape.
    pub stage: usize,
    /// Its place in the stage, from 0.
    pub position: usize,
    /// Why it cannot be removed; `None` if it can.
    pub fixed: Option<String>,
}

/// The residual blocks of `source` in the model's order. Those that cannot be removed, as they change the shape, are among them, so that
/// stages can be counted.
#[must_use]
pub fn blocks(source: &Shaped) -> Vec<Block> {
    let paths = Paths::of(source);
    let found: Vec<Found<'_>> = source.model().graph.nodes.iter().filter_map(|node| paths.block(node)).collect();
    // A shortcut within a branch belongs to the branch, unless it is a block of its own.
    let inner: HashSet<usize> = found.iter().flat_map(|block| block.branch.iter().copied()).collect();
    let mut blocks: Vec<Block> = Vec::new();
    for block in found.iter().filter(|block| block.fixed.is_none() || !inner.contains(&block.sum)) {
        let dims = source.facts(block.output).map(|facts| facts.dims.clone()).unwrap_or_default();
        let (stage, position) = match blocks.last() {
            Some(last) if last.dims == dims => (last.stage, last.position + 1),
            Some(last) => (last.stage + 1, 0),
            None => (0, 0),
        };
        let name = |&i: &usize| source.model().graph.nodes[i].label().to_owned();
        blocks.push(Block {
            output: block.output.clone(),
            input: block.input.clone(),
            branch: block.branch.iter().map(name).collect(),
            dims,
            stage,
            position,
            fixed: block.fixed.clone(),
        });
    }
    blocks
}

/// `source` with the identity for the blocks of these outputs. What only they needed is gone.
///
/// # Errors
/// A value is not the output of a block, or of one that cannot be removed.
pub fn remove_blocks(source: &Shaped, outputs: &[Value]) -> Result<Model, TransformError> {
    let refuse = |text: String| TransformError::of_model(PASS, Cause::Unsupported(text));
    let blocks = blocks(source);
    for output in outputs {
        let block = blocks.iter().find(|block| block.output == *output);
        let block = block.ok_or_else(|| {
            let all: Vec<String> = blocks.iter().map(|block| format!("\"{}\"", block.output)).collect();
            refuse(format!("\"{output}\" is not the output of a residual block; these are: {}", all.join(", ")))
        })?;
        if let Some(why) = &block.fixed {
            return Err(refuse(format!("the block of \"{output}\" must stay: {why}")));
        }
    }
    let mut model = source.model().clone();
    let graph = &mut model.graph;
    let mut instead: HashMap<&Value, &Value> = HashMap::new();
    for block in blocks.iter().filter(|block| outputs.contains(&block.output)) {
        // The input may be the output of a block that is gone.
        let input = instead.get(&block.input).copied().unwrap_or(&block.input);
        graph.nodes.iter_mut().for_each(|node| rename_reads(node, &block.output, input));
        instead.insert(&block.output, input);
        keep_output(graph, &block.output, input);
    }
    drop_unused(graph);
    checked(PASS, model)
}

/// Where `output` is one of the model, it becomes a copy of `input`.
fn keep_output(graph: &mut Graph, output: &Value, input: &Value) {
    if !graph.outputs.iter().any(|info| info.value == *output) {
        return;
    }
    let mut names = Names::of(graph);
    for node in graph.nodes.iter_mut().filter(|node| node.output(0) == Some(output)) {
        node.outputs[0] = Some(names.fresh(&format!("{output}/removed")));
    }
    let copy = Node::new("Identity", vec![Some(input.clone())], vec![Some(output.clone())]);
    graph.nodes.push(Node { name: names.fresh(&format!("{output}/identity")).to_string(), ..copy });
}

/// What a block consists of, in positions of nodes.
struct Found<'m> {
    sum: usize,
    output: &'m Value,
    input: &'m Value,
    branch: Vec<usize>,
    fixed: Option<String>,
}

/// The ways from the model's input to its values.
struct Paths<'m> {
    source: &'m Shaped,
    /// Values that depend on the input, and the nodes that give them; `None` of an input.
    makers: HashMap<&'m Value, Option<usize>>,
}

impl<'m> Paths<'m> {
    fn of(source: &'m Shaped) -> Self {
        let graph = &source.model().graph;
        let mut makers: HashMap<&Value, Option<usize>> = graph.inputs.iter().map(|i| (&i.value, None)).collect();
        for (i, node) in graph.nodes.iter().enumerate() {
            if reads(node).iter().any(|value| makers.contains_key(*value)) {
                makers.extend(node.outputs.iter().flatten().map(|output| (output, Some(i))));
            }
        }
        Self { source, makers }
    }

    /// The block that ends in `node`, if it adds two computed values of one shape of which at least one comes out of a layer.
    fn block(&self, node: &'m Node) -> Option<Found<'m>> {
        if !node.domain.is_empty() || !matches!(node.operator.as_str(), "Add" | "Sum") {
            return None;
        }
        let (output, &[Some(ref a), Some(ref b)]) = (node.output(0)?, &node.inputs[..]) else { return None };
        let dims = |value: &Value| self.source.facts(value).map(|facts| &facts.dims);
        if dims(a)? != dims(output)? || dims(b)? != dims(output)? {
            return None;
        }
        let [a, b] = [self.uncopied(a)?, self.uncopied(b)?];
        let of_b = self.back(b, None).0;
        // The last one: nothing that both depend on comes after it.
        let common = self.back(a, None).0.intersection(&of_b).copied().max_by_key(|value| self.makers[*value])?;
        let sides = [a, b].map(|side| self.back(side, Some(common)));
        let layers = sides.iter().filter(|(_, nodes)| nodes.iter().any(|&i| self.is_layer(i))).count();
        let open = sides.iter().flat_map(|(values, _)| values).find(|value| self.makers[**value].is_none());
        let fixed = match open {
            Some(other) => Some(format!("it is not made from \"{common}\" alone: \"{other}\" takes another way")),
            None if a != common && b != common => Some(format!("its shortcut is not its input \"{common}\" unchanged")),
            None => None,
        };
        let mut branch: Vec<usize> = sides.iter().flat_map(|(_, nodes)| nodes.iter().copied()).collect();
        branch.sort_unstable();
        branch.dedup();
        let sum = self.makers.get(output).copied().flatten()?;
        (layers > 0 && a != b).then_some(Found { sum, output, input: common, branch, fixed })
    }

    /// `value`, or what it is a copy of; `None` of a constant.
    fn uncopied(&self, mut value: &'m Value) -> Option<&'m Value> {
        while let Some(i) = *self.makers.get(value)? {
            let node = &self.source.model().graph.nodes[i];
            match node.input(0) {
                Some(from) if node.operator == "Identity" && node.domain.is_empty() => value = from,
                _ => break,
            }
        }
        Some(value)
    }

    /// What `value` is made from up to `stop`, itself included and `stop` not, and the nodes between.
    fn back(&self, value: &'m Value, stop: Option<&Value>) -> (HashSet<&'m Value>, HashSet<usize>) {
        let (mut values, mut nodes) = (HashSet::new(), HashSet::new());
        let mut left = vec![value];
        while let Some(value) = left.pop() {
            let Some(maker) = self.makers.get_key_value(value).filter(|_| Some(value) != stop) else { continue };
            if values.insert(*maker.0)
                && let Some(i) = *maker.1
            {
                nodes.insert(i);
                left.extend(reads(&self.source.model().graph.nodes[i]));
            }
        }
        (values, nodes)
    }

    /// Whether a node applies weights: a convolution or a product, in integers too, of which one factor is constant.
    fn is_layer(&self, node: usize) -> bool {
        let node = &self.source.model().graph.nodes[node];
        let multiplies = ["Conv", "Gemm", "MatMul", "Einsum"].iter().any(|kind| node.operator.contains(kind));
        multiplies && node.inputs.iter().flatten().any(|value| !self.makers.contains_key(value))
    }
}
