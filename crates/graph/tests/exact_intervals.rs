//! Which intervals are said to be exact, and where a value is the ReLU of another.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use assay_graph::{Specification, interval};
use assay_reference::Net;

/// Whether the intervals of each value that a function reads are exact, and whether it is a ReLU's output.
#[track_caller]
fn exact(net: &Net) -> Vec<(String, bool, bool)> {
    let graph = interval(&net.shaped(), Specification::Labels).unwrap();
    let told = |layer: assay_graph::Relaxed| (layer.value.to_string(), layer.exact_in_boxes, layer.relu_of.is_some());
    graph.layers.into_iter().map(told).collect()
}

fn tell(layers: &[(&str, bool, bool)]) -> Vec<(String, bool, bool)> {
    layers.iter().map(|&(name, exact, relu)| (name.to_owned(), exact, relu)).collect()
}

fn image() -> Net {
    Net::new(&[2, 6, 6])
}

#[test]
fn one_sum_is_exact_with_scaling_before_and_behind() {
    let net = image()
        .floats("mean", &[2, 1, 1], &[0.4, 0.6])
        .node("Sub", "x mean -> a", &[])
        .conv("a -> b", &[4, 2, 3, 3], &[])
        .norm("b -> c", 4)
        .node("Relu", "c -> d", &[])
        .conv("d -> e", &[4, 4, 3, 3], &[])
        .node("Relu", "e -> f", &[])
        .head("f", 4);
    assert_eq!(exact(&net), tell(&[("c", true, false), ("e", false, false)]));
}

#[test]
fn two_sums_are_not_and_neither_is_an_element_that_comes_twice() {
    let twice = image()
        .conv("x -> a", &[4, 2, 3, 3], &[])
        .conv("a -> b", &[4, 4, 3, 3], &[])
        .node("Relu", "b -> c", &[])
        .head("c", 4);
    assert_eq!(exact(&twice), tell(&[("b", false, false)]));
    let joined = image()
        .node("Neg", "x -> a", &[])
        .node("Concat", "x a -> b", &[("axis", 1.into())])
        .conv("b -> c", &[4, 4, 3, 3], &[])
        .node("Relu", "c -> d", &[])
        .head("d", 4);
    assert_eq!(exact(&joined), tell(&[("c", false, false)]));
    let residual = image()
        .conv("x -> a", &[2, 2, 3, 3], &[])
        .node("Add", "a x -> b", &[])
        .node("Relu", "b -> c", &[])
        .head("c", 2);
    assert_eq!(exact(&residual), tell(&[("b", false, false)]));
    let spread = Net::new(&[1, 6, 6])
        .floats("offsets", &[3, 1, 1], &[0.1, 0.2, 0.3])
        .node("Add", "x offsets -> a", &[])
        .conv("a -> b", &[4, 3, 3, 3], &[])
        .node("Relu", "b -> c", &[])
        .head("c", 4);
    assert_eq!(exact(&spread), tell(&[("b", false, false)]), "a broadcast has each element three times");
}

#[test]
fn a_maximum_reads_the_relu_of_a_value() {
    let pool = [("kernel_shape", vec![2, 2].into()), ("strides", vec![2, 2].into())];
    let net = image()
        .conv("x -> a", &[4, 2, 3, 3], &[])
        .node("Relu", "a -> b", &[])
        .node("MaxPool", "b -> c", &pool)
        .head("c", 4);
    assert_eq!(exact(&net), tell(&[("a", true, false), ("b", false, true)]));
}
