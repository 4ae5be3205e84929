//! Changes of nodes, and how they are written.

use std::collections::HashMap;

use super::layout::Layout;
use crate::names::Names;
use crate::{Attribute, Cause, Graph, Node, Rule, Tensor, Value};

/// A change of one node.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    /// Input `input` is these integers.
    Ints { input: usize, values: Vec<i64> },
    /// An attribute goes.
    Without(&'static str),
    /// An attribute comes.
    With(&'static str, Attribute),
    /// Input `input`, of shape `dims`, is the same for every sample and is repeated for each.
    Repeat { input: usize, dims: Vec<usize>, layout: Layout, size: usize },
    /// As `Repeat`, where one copy broadcasts.
    Single { input: usize, dims: Vec<usize>, layout: Layout, size: usize },
}

/// Writes edits into a graph.
pub(super) struct Writer<'g> {
    graph: &'g mut Graph,
    names: &'g mut Names,
    /// New nodes, by the node that they go before.
    before: Vec<(usize, Node)>,
    /// Targets by content: nodes may share one.
    targets: HashMap<Vec<i64>, Value>,
    repeated: HashMap<(Value, usize, usize, usize), Value>,
    batch: Option<Value>,
}

impl<'g> Writer<'g> {
    pub(super) fn new(graph: &'g mut Graph, names: &'g mut Names) -> Self {
        Self { graph, names, before: Vec::new(), targets: HashMap::new(), repeated: HashMap::new(), batch: None }
    }

    pub(super) fn write(&mut self, node: usize, edit: Edit) -> Rule<()> {
        match edit {
            Edit::Ints { input, values } => {
                let target = self.ints(values);
                self.graph.nodes[node].inputs[input] = Some(target);
            }
            Edit::Without(name) => drop(self.graph.nodes[node].attributes.shift_remove(name)),
            Edit::With(name, value) => drop(self.graph.nodes[node].attributes.insert(name.into(), value)),
            Edit::Single { input, dims, layout, size } => {
                let value = self.graph.nodes[node].required(input)?.clone();
                let single = self.single(&value, &dims, layout, size)?;
                self.graph.nodes[node].inputs[input] = Some(single);
            }
            Edit::Repeat { input, dims, layout, size } => {
                let value = self.graph.nodes[node].required(input)?.clone();
                let key = (value.clone(), layout.axis, layout.before, layout.after);
                let repeated = match self.repeated.get(&key) {
                    Some(repeated) => repeated.clone(),
                    None => {
                        let single = self.single(&value, &dims, layout, size)?;
                        let repeated = self.repeat(node, &single, &dims, layout);
                        self.repeated.insert(key, repeated.clone());
                        repeated
                    }
                };
                self.graph.nodes[node].inputs[input] = Some(repeated);
            }
        }
        Ok(())
    }

    /// Puts the new nodes in their places.
    pub(super) fn finish(self) {
        let mut before = self.before.into_iter().peekable();
        let mut nodes = Vec::with_capacity(self.graph.nodes.len() + before.len());
        for (i, node) in std::mem::take(&mut self.graph.nodes).into_iter().enumerate() {
            while let Some((_, new)) = before.next_if(|(at, _)| *at <= i) {
                nodes.push(new);
            }
            nodes.push(node);
        }
        self.graph.nodes = nodes;
    }

    fn ints(&mut self, values: Vec<i64>) -> Value {
        if let Some(value) = self.targets.get(&values) {
            return value.clone();
        }
        let value = self.names.fresh("batch/target");
        self.graph.initializers.insert(value.clone(), Tensor::ints(&values));
        self.targets.insert(values, value.clone());
        value
    }

    /// One of the `size` equal copies in a constant.
    fn single(&mut self, value: &Value, dims: &[usize], layout: Layout, size: usize) -> Rule<Value> {
        if size == 1 {
            return Ok(value.clone());
        }
        let differs = || Cause::Unsupported(format!("\"{value}\" differs from sample to sample of a batch"));
        let tensor = self.graph.initializers.get(value).ok_or_else(differs)?;
        let inner =
            layout.after * dims[layout.axis + 1..].iter().product::<usize>() * tensor.dtype().size().unwrap_or(0);
        let mut bytes = Vec::with_capacity(tensor.bytes().len() / size);
        for copies in tensor.bytes().chunks((inner * size).max(1)) {
            let (first, rest) = copies.split_at(inner.min(copies.len()));
            if rest.chunks(inner.max(1)).any(|copy| copy != first) {
                return Err(differs());
            }
            bytes.extend_from_slice(first);
        }
        let mut single = dims.to_vec();
        single[layout.axis] = layout.size(1);
        let tensor = Tensor::new(tensor.dtype(), single, bytes.into()).ok_or_else(differs)?;
        let name = self.names.fresh(&format!("{value}/single"));
        self.graph.initializers.insert(name.clone(), tensor);
        Ok(name)
    }

    /// `value` with `n` copies: reshaped to `[…, before, 1, after, …]`, expanded, and put together again.
    fn repeat(&mut self, at: usize, value: &Value, dims: &[usize], layout: Layout) -> Value {
        let Layout { axis, before, after } = layout;
        let int = |size: &usize| i64::try_from(*size).unwrap_or(i64::MAX);
        let (lead, tail): (Vec<i64>, Vec<i64>) =
            (dims[..axis].iter().map(int).collect(), dims[axis + 1..].iter().map(int).collect());
        let plain = before * after == 1;
        let (prefix, suffix) = match plain {
            true => (vec![1; lead.len()], vec![1; tail.len()]),
            false => (vec![1; lead.len() + 1], vec![1; tail.len() + 1]),
        };
        let batch = self.batch(at);
        let split = if plain {
            value.clone()
        } else {
            let parts = [&lead[..], &[int(&before), 1, int(&after)], &tail].concat();
            let parts = self.ints(parts);
            self.node(at, "Reshape", vec![value.clone(), parts], &[])
        };
        let mut parts = Vec::new();
        for (values, is_batch) in [(prefix, false), (Vec::new(), true), (suffix, false)] {
            if is_batch {
                parts.push(batch.clone());
            } else if !values.is_empty() {
                parts.push(self.ints(values));
            }
        }
        let target = if parts.len() == 1 { batch } else { self.node(at, "Concat", parts, &[("axis", 0.into())]) };
        let expanded = self.node(at, "Expand", vec![split, target], &[]);
        if plain {
            return expanded;
        }
        let whole = self.ints([&lead[..], &[-1], &tail].concat());
        self.node(at, "Reshape", vec![expanded, whole], &[])
    }

    /// The batch size, as a vector of one number.
    fn batch(&mut self, at: usize) -> Value {
        if let Some(batch) = &self.batch {
            return batch.clone();
        }
        let input = self.graph.inputs[0].value.clone();
        let batch = self.node(at, "Shape", vec![input], &[("start", 0.into()), ("end", 1.into())]);
        self.batch = Some(batch.clone());
        batch
    }

    fn node(&mut self, at: usize, operator: &str, inputs: Vec<Value>, attributes: &[(&str, Attribute)]) -> Value {
        let output = self.names.fresh(&format!("batch/{operator}"));
        let mut node = Node::new(operator, inputs.into_iter().map(Some).collect(), vec![Some(output.clone())]);
        node.name = output.to_string();
        node.attributes.extend(attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self.before.push((at, node));
        output
    }
}
