//! What a model is made of: its layers with their weights and multiply–accumulates, its operators, its memory.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::order::reads;
use crate::{Attribute, DataType, Dim, Node, Shaped, Tensor, Value};

/// What a model is made of, for one sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Multiply–accumulates: those of convolutions and matrix products, also of activations with each other.
    pub macs: u64,
    /// The weights, each counted once.
    pub weights: Weights,
    /// Bytes of all values that are computed from the input. A gradient keeps most of them; a forward pass frees them as it
    /// goes.
    pub activation_bytes: u64,
    /// Number of nodes of each operator; one that is not of the standard domain has its domain before its name.
    pub operators: BTreeMap<String, u64>,
    /// The nodes that have weights or multiply, in the order of the graph.
    pub layers: Vec<Layer>,
}

/// Counts over weights: floating-point constants, and integers that are scaled to such.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weights {
    /// Elements.
    pub elements: u64,
    /// Elements that are exactly zero. Of scaled integers, those that stand for zero, where one integer does in all channels.
    pub zeros: u64,
    /// Bytes, as they are stored.
    pub bytes: u64,
}

/// A node that has weights or multiplies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Name of the node, or of its first output where it has none.
    pub name: String,
    /// Its operator, as in [`Inspection::operators`].
    pub operator: String,
    /// Shape of its first output, with a batch of 1.
    pub output: Vec<usize>,
    /// The weights that it reads. Those that several layers share are counted in each.
    pub weights: Weights,
    /// Multiply–accumulates.
    pub macs: u64,
}

/// Looks at every node of `model` outside of its subgraphs.
#[must_use]
pub fn inspect(model: &Shaped) -> Inspection {
    let graph = &model.model().graph;
    let counts: HashMap<&Value, Weights> = counted(model);
    // What is computed from the input; and of what is not, the weights that it is computed from.
    let mut varying: HashSet<&Value> = graph.inputs.iter().map(|input| &input.value).collect();
    let mut sources: HashMap<&Value, HashSet<&Value>> = counts.keys().map(|&v| (v, HashSet::from([v]))).collect();
    let mut found = Inspection::default();
    for node in &graph.nodes {
        *found.operators.entry(operator(node)).or_default() += 1;
        let read = reads(node);
        let weights: HashSet<&Value> = read.iter().filter_map(|v| sources.get(v)).flatten().copied().collect();
        if !read.iter().any(|v| varying.contains(v)) {
            sources.extend(node.outputs.iter().flatten().map(|output| (output, weights.clone())));
            continue;
        }
        varying.extend(node.outputs.iter().flatten());
        found.activation_bytes += node.outputs.iter().flatten().map(|output| bytes(model, output)).sum::<u64>();
        let weights = weights.into_iter().fold(Weights::default(), |sum, value| sum.plus(counts[value]));
        let macs = macs(model, node).unwrap_or(0);
        found.macs += macs;
        if weights.elements > 0 || macs > 0 {
            let output = node.output(0).map(|output| sizes(model, output)).unwrap_or_default();
            found.layers.push(Layer { name: node.label().to_owned(), operator: operator(node), output, weights, macs });
        }
    }
    let used = sources.into_values().flatten().collect::<HashSet<_>>();
    found.weights = used.into_iter().fold(Weights::default(), |sum, value| sum.plus(counts[value]));
    found
}

impl Weights {
    /// `zero` is the integer that stands for zero, of a tensor of bytes.
    fn of(tensor: &Tensor, zero: Option<u8>) -> Self {
        let size = tensor.bytes().len() / tensor.len().max(1);
        let is_zero = |element: &[u8]| match tensor.dtype() {
            DataType::Int8 | DataType::Uint8 => element.first() == zero.as_ref(),
            // Zero of either sign.
            _ => element.split_last().is_some_and(|(last, rest)| last & 0x7f == 0 && rest.iter().all(|b| *b == 0)),
        };
        let zeros = tensor.bytes().chunks_exact(size.max(1)).filter(|element| is_zero(element)).count();
        Self { elements: tensor.len() as u64, zeros: zeros as u64, bytes: tensor.bytes().len() as u64 }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            elements: self.elements + other.elements,
            zeros: self.zeros + other.zeros,
            bytes: self.bytes + other.bytes,
        }
    }
}

/// The counts of every weight.
fn counted(model: &Shaped) -> HashMap<&Value, Weights> {
    let graph = &model.model().graph;
    let floats = graph.initializers.iter().filter(|(_, tensor)| tensor.dtype().is_float());
    let mut counts: HashMap<&Value, Weights> =
        floats.map(|(value, tensor)| (value, Weights::of(tensor, None))).collect();
    for node in graph.nodes.iter().filter(|node| node.domain.is_empty() && node.operator == "DequantizeLinear") {
        let zero = node.input(2).map_or(Some(0), |zero| graph.initializers.get(zero).and_then(only_byte));
        if let Some((value, tensor)) = node.input(0).and_then(|value| graph.initializers.get_key_value(value)) {
            counts.insert(value, Weights::of(tensor, zero));
        }
    }
    counts
}

/// The byte that `tensor` consists of.
fn only_byte(tensor: &Tensor) -> Option<u8> {
    let (first, rest) = tensor.bytes().split_first()?;
    rest.iter().all(|byte| byte == first).then_some(*first)
}

/// Multiply–accumulates of a node for one sample; `None` for what does not multiply.
fn macs(model: &Shaped, node: &Node) -> Option<u64> {
    if !node.domain.is_empty() {
        return None;
    }
    let input = |i: usize| node.input(i).map(|value| sizes(model, value));
    let output = sizes(model, node.output(0)?);
    match node.operator.as_str() {
        // Every element of the output, or of the input, meets the weights of its channel.
        "Conv" | "ConvInteger" => per_channel(&output, &input(1)?, 0),
        "QLinearConv" => per_channel(&output, &input(3)?, 0),
        "ConvTranspose" => per_channel(&input(0)?, &input(1)?, 0),
        "Gemm" => {
            let a = input(0)?;
            let transposed = matches!(node.attributes.get("transA"), Some(Attribute::Int(1)));
            Some(product(&output) * *a.get(usize::from(!transposed))? as u64)
        }
        "MatMul" | "MatMulInteger" | "QLinearMatMul" => Some(product(&output) * *input(0)?.last()? as u64),
        "Einsum" => {
            let Some(Attribute::String(equation)) = node.attributes.get("equation") else { return None };
            einsum(std::str::from_utf8(equation).ok()?, &[input(0)?, input(1)?])
        }
        _ => None,
    }
}

/// `elements`, with the channels second, times the weights of one channel; `axis` counts the channels in the weights.
fn per_channel(elements: &[usize], weights: &[usize], axis: usize) -> Option<u64> {
    let channels = *weights.get(axis)? as u64;
    product(elements).checked_mul(product(weights))?.checked_div(channels)
}

/// The product of the sizes of all labels of an equation of two operands without `...`.
fn einsum(equation: &str, operands: &[Vec<usize>; 2]) -> Option<u64> {
    let inputs = equation.split("->").next()?.replace(' ', "");
    let (a, b) = inputs.split_once(',').filter(|_| !inputs.contains('.'))?;
    let sizes: HashMap<char, usize> =
        [a, b].iter().zip(operands).flat_map(|(labels, sizes)| labels.chars().zip(sizes.iter().copied())).collect();
    Some(sizes.values().map(|&size| size as u64).product())
}

/// The operator, with its domain where that is not the standard one.
fn operator(node: &Node) -> String {
    if node.domain.is_empty() { node.operator.clone() } else { format!("{}.{}", node.domain, node.operator) }
}

/// Shape of `value` for a batch of 1.
fn sizes(model: &Shaped, value: &Value) -> Vec<usize> {
    let dims = model.facts(value).map_or(&[][..], |facts| &facts.dims);
    dims.iter()
        .map(|dim| match dim {
            Dim::Fixed(size) | Dim::Batch(size) => *size,
        })
        .collect()
}

/// Bytes of `value` for a batch of 1.
fn bytes(model: &Shaped, value: &Value) -> u64 {
    let size = model.facts(value).and_then(|facts| facts.dtype.size()).unwrap_or(0);
    product(&sizes(model, value)) * size as u64
}

fn product(sizes: &[usize]) -> u64 {
    sizes.iter().map(|&size| size as u64).product()
}
