//! Small nets.

use assay_graph::Attribute;
use assay_reference::Net;

/// Values of a sample of [`nets`].
pub(crate) const FEATURES: usize = 72;

fn ints(list: &[i64]) -> Attribute {
    list.to_vec().into()
}

/// Nets with every kind of operator that has bounds, of samples `[2, 6, 6]`.
pub(crate) fn nets() -> Vec<(&'static str, Net)> {
    let pool = [("kernel_shape", ints(&[3, 3])), ("strides", ints(&[2, 2])), ("pads", ints(&[1, 1, 1, 1]))];
    vec![
        (
            "residual",
            Net::new(&[2, 6, 6])
                .conv("x -> a", &[4, 2, 3, 3], &[("strides", ints(&[2, 2]))])
                .norm("a -> b", 4)
                .node("Relu", "b -> c", &[])
                .conv("c -> d", &[4, 4, 3, 3], &[])
                .node("Add", "d c -> e", &[])
                .node("Relu", "e -> f", &[])
                .node("Flatten", "f -> g", &[])
                .dense("g -> h", [8, 36])
                .node("LeakyRelu", "h -> i", &[("alpha", 0.1.into())])
                .dense("i -> z", [3, 8]),
        ),
        (
            "pooled",
            Net::new(&[2, 6, 6])
                .conv("x -> a", &[4, 2, 3, 3], &[])
                .node("Sigmoid", "a -> b", &[])
                .node("MaxPool", "b -> c", &pool)
                .conv("c -> d", &[4, 4, 3, 3], &[])
                .node("AveragePool", "d -> e", &pool)
                .node("Tanh", "e -> f", &[])
                .head("f", 4),
        ),
        (
            "clipped",
            Net::new(&[2, 6, 6])
                .floats("mean", &[2, 1, 1], &[0.4, 0.6])
                .floats("std", &[2, 1, 1], &[0.3, 0.2])
                .node("Sub", "x mean -> a", &[])
                .node("Div", "a std -> b", &[])
                .conv("b -> c", &[3, 2, 3, 3], &[])
                .floats("low", &[], &[0.0])
                .floats("high", &[], &[1.5])
                .node("Clip", "c low high -> d", &[])
                .node("Neg", "d -> e", &[])
                .node("Concat", "d e -> f", &[("axis", 1.into())])
                .conv("f -> g", &[4, 6, 3, 3], &[])
                .node("Relu", "g -> h", &[])
                .head("h", 4),
        ),
    ]
}
