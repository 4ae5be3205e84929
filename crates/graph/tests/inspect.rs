//! Layers, multiply–accumulates and weights, counted by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use assay_graph::{
    Attribute, Canonical, DataType, Dimension, Graph, Inspection, Model, Node, Tensor, Value, ValueInfo, Weights,
    inspect,
};
use assay_reference::{Array, probe};

fn node(operator: &str, inputs: &[&str], output: &str) -> Node {
    let inputs = inputs.iter().map(|&name| Some(Value::from(name))).collect();
    let mut node = Node::new(operator, inputs, vec![Some(output.into())]);
    node.name = format!("the {output}");
    node
}

fn with(mut node: Node, name: &str, value: impl Into<Attribute>) -> Node {
    node.attributes.insert(name.into(), value.into());
    node
}

/// Ones, but for the first `zeros` elements.
fn weights(dims: &[usize], zeros: usize) -> Tensor {
    let values: Vec<f32> = (0..dims.iter().product()).map(|i| if i < zeros { 0.0 } else { 1.0 }).collect();
    Tensor::floats(dims, &values)
}

/// What is found in nodes over `x` of shape `[n, sample...]`; the last one gives the output.
fn look<const N: usize>(sample: &[usize], nodes: Vec<Node>, initializers: [(&str, Tensor); N]) -> Inspection {
    let mut graph = Graph::default();
    let known = sample.iter().map(|&size| Dimension::Known(size));
    let shape = std::iter::once(Dimension::Symbol("n".into())).chain(known).collect();
    graph.inputs.push(ValueInfo::new("x", DataType::Float, shape));
    graph.outputs.push(ValueInfo::untyped(nodes.last().unwrap().output(0).unwrap().clone()));
    graph.nodes = nodes;
    graph.initializers.extend(initializers.map(|(name, tensor)| (Value::from(name), tensor)));
    let dims = [&[1], sample].concat();
    let x = Array::floats(&dims, vec![0.5; sample.iter().product()]);
    inspect(&probe(Canonical::new(Model::new(17, graph)).unwrap(), &[("x", x)]))
}

fn counts(elements: u64, zeros: u64) -> Weights {
    Weights { elements, zeros, bytes: 4 * elements }
}

#[test]
fn a_small_network_is_counted_as_by_hand() {
    let conv = with(with(node("Conv", &["x", "w", "b"], "a"), "pads", vec![1, 1, 1, 1]), "strides", vec![2, 2]);
    let nodes = vec![
        conv,
        node("Relu", &["a"], "r"),
        node("GlobalAveragePool", &["r"], "p"),
        node("Flatten", &["p"], "f"),
        with(node("Gemm", &["f", "v", "c"], "z"), "transB", 1),
    ];
    let (w, v) = (weights(&[4, 3, 3, 3], 27), weights(&[10, 4], 10));
    let found = look(&[3, 8, 8], nodes, [("w", w), ("b", weights(&[4], 0)), ("v", v), ("c", weights(&[10], 1))]);
    // The output of the convolution is 4 x 4 x 4, and each of its elements is a sum of 3 x 3 x 3 products.
    assert_eq!(found.layers.iter().map(|layer| layer.macs).collect::<Vec<_>>(), [64 * 27, 10 * 4]);
    assert_eq!(found.macs, 64 * 27 + 40);
    let [conv, gemm] = found.layers.as_slice() else { panic!("{found:?}") };
    assert_eq!((conv.name.as_str(), conv.operator.as_str(), &conv.output[..]), ("the a", "Conv", &[1, 4, 4, 4][..]));
    assert_eq!((conv.weights, gemm.weights), (counts(108 + 4, 27), counts(40 + 10, 11)));
    assert_eq!(found.weights, counts(162, 38));
    // a and r have 64 elements, p and f 4, z 10.
    assert_eq!(found.activation_bytes, 4 * (64 + 64 + 4 + 4 + 10));
    let operators: Vec<(&str, u64)> = found.operators.iter().map(|(name, &nodes)| (name.as_str(), nodes)).collect();
    assert_eq!(operators, [("Conv", 1), ("Flatten", 1), ("Gemm", 1), ("GlobalAveragePool", 1), ("Relu", 1)]);
}

#[test]
fn groups_and_transposed_convolutions_multiply_less_and_more() {
    let depthwise = with(node("Conv", &["x", "w"], "z"), "group", 4);
    // 3 x 3 outputs in 4 channels, each a sum of 1 x 2 x 2 products.
    assert_eq!(look(&[4, 4, 4], vec![depthwise], [("w", weights(&[4, 1, 2, 2], 0))]).macs, 36 * 4);
    let transposed = with(node("ConvTranspose", &["x", "w"], "z"), "strides", vec![2, 2]);
    // Each of the 2 x 3 x 3 inputs meets 5 x 2 x 2 weights.
    assert_eq!(look(&[2, 3, 3], vec![transposed], [("w", weights(&[2, 5, 2, 2], 0))]).macs, 18 * 20);
}

#[test]
fn activations_times_activations_count_too() {
    let nodes = vec![with(node("Transpose", &["x"], "t"), "perm", vec![0, 2, 1]), node("MatMul", &["x", "t"], "z")];
    let found = look(&[5, 6], nodes, []);
    assert_eq!((found.macs, found.weights, found.layers.len()), (25 * 6, Weights::default(), 1));
}

#[test]
fn weights_are_found_behind_what_is_computed_from_them_and_counted_once() {
    let nodes = vec![
        with(node("Transpose", &["w"], "t"), "perm", vec![1, 0]),
        node("MatMul", &["x", "w"], "a"),
        node("MatMul", &["a", "t"], "z"),
    ];
    let found = look(&[2], nodes, [("w", weights(&[2, 3], 1))]);
    assert_eq!(found.layers.iter().map(|layer| layer.weights).collect::<Vec<_>>(), [counts(6, 1), counts(6, 1)]);
    assert_eq!((found.weights, found.macs), (counts(6, 1), 12));
}
