//! Dead channels, and their removal: the compact model computes what the sparse one does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use assay_graph::{Model, Tensor, Value, check, compact};
use assay_reference::{Net, Random, compare, run};

/// Sets the elements of a weight for which `zero` says so.
fn with_zeros(net: &mut Net, weight: &str, mut zero: impl FnMut(&[usize]) -> bool) {
    let tensor = &mut net.graph.initializers[&Value::from(weight)];
    let mut numbers = tensor.to_f64().unwrap();
    for (i, number) in numbers.iter_mut().enumerate() {
        let mut rest = i;
        let mut at: Vec<usize> = tensor.dims().iter().rev().map(|size| (rest % size, rest /= size).0).collect();
        at.reverse();
        if zero(&at) {
            *number = 0.0;
        }
    }
    *tensor = Tensor::rounded(tensor.dtype(), tensor.dims(), &numbers);
}

fn set(net: &mut Net, weight: &str, at: usize, number: f64) {
    let tensor = &mut net.graph.initializers[&Value::from(weight)];
    let mut numbers = tensor.to_f64().unwrap();
    numbers[at] = number;
    *tensor = Tensor::rounded(tensor.dtype(), tensor.dims(), &numbers);
}

#[track_caller]
fn check_compact(net: &Net) -> Model {
    let source = net.shaped();
    let small = compact(&source).unwrap();
    check(&small).unwrap();
    let logits = |model: &Model| run(model, &[("x", net.x(3))]).unwrap()[&Value::from("z")].f64().clone();
    compare("compact", &logits(&small), &logits(source.model()), 1e-6);
    small
}

fn dims<'m>(model: &'m Model, weight: &str) -> &'m [usize] {
    model.graph.initializers[weight].dims()
}

/// `x` to `a` to `b` to `z`; `b` has a kernel of `size`, padded where it is 3.
fn net(size: usize) -> Net {
    Net::new(&[2, 5, 5])
        .conv("x -> a", &[4, 2, 3, 3], &[])
        .norm("a -> an", 4)
        .node("Relu", "an -> ar", &[])
        .conv("ar -> b", &[5, 4, size, size], &[])
        .node("Relu", "b -> br", &[])
        .node("MaxPool", "br -> bp", &[("kernel_shape", vec![2, 2].into())])
        .head("bp", 5)
}

#[test]
fn a_model_without_dead_channels_stays_as_it_is() {
    let net = net(3);
    assert_eq!(check_compact(&net), *net.shaped().model());
    // A layer without a bias does not get one.
    let mut net = net;
    net.graph.nodes[0].inputs.truncate(2);
    net.graph.initializers.shift_remove("a.b");
    assert_eq!(check_compact(&net), *net.shaped().model());
}

#[test]
fn filters_of_zeros_whose_constant_is_cut_off() {
    let mut net = net(3);
    with_zeros(&mut net, "a.w", |at| at[0] == 1);
    for (weight, number) in [("a.b", -3.0), ("an.scale", 1.0), ("an.bias", 0.1), ("an.mean", 0.0)] {
        set(&mut net, weight, 1, number);
    }
    let small = check_compact(&net);
    assert_eq!(
        (dims(&small, "a.w"), dims(&small, "an.var"), dims(&small, "b.w")),
        (&[3, 2, 3, 3][..], &[3][..], &[5, 3, 3, 3][..])
    );
}

#[test]
fn constants_go_into_the_bias_unless_the_layer_pads() {
    for (size, left) in [(1, 3), (3, 4)] {
        let mut net = net(size);
        // The norm makes a constant of anything.
        set(&mut net, "an.scale", 2, 0.0);
        set(&mut net, "an.bias", 2, 0.75);
        let small = check_compact(&net);
        assert_eq!(dims(&small, "b.w"), [5, left, size, size]);
    }
    // Zero is what a layer pads with.
    let mut net = net(3);
    set(&mut net, "an.scale", 2, 0.0);
    set(&mut net, "an.bias", 2, 0.0);
    assert_eq!(dims(&check_compact(&net), "b.w"), [5, 3, 3, 3]);
}

#[test]
fn a_constant_gives_a_bias_to_a_layer_without_one() {
    let mut net = net(1);
    net.graph.nodes[3].inputs.truncate(2);
    net.graph.initializers.shift_remove("b.b");
    set(&mut net, "an.scale", 0, 0.0);
    let before = net.graph.initializers[&Value::from("an.bias")].to_f64().unwrap()[0];
    set(&mut net, "an.bias", 0, before.abs() + 0.5);
    let small = check_compact(&net);
    assert_eq!(dims(&small, "b.w"), [5, 3, 1, 1]);
    assert!(small.graph.nodes.iter().find(|node| node.name == "the b").unwrap().input(2).is_some());
}

#[test]
fn channels_that_nobody_reads_and_what_only_they_read() {
    let mut net = net(3);
    with_zeros(&mut net, "z.w", |at| at[1] == 3);
    // The first layer's last channel is read by that channel alone.
    with_zeros(&mut net, "b.w", |at| at[1] == 3 && at[0] != 3);
    let small = check_compact(&net);
    assert_eq!(
        (dims(&small, "z.w"), dims(&small, "b.w"), dims(&small, "a.w")),
        (&[3, 4][..], &[4, 3, 3, 3][..], &[3, 2, 3, 3][..])
    );
}

#[test]
fn a_dead_layer_keeps_one_channel() {
    let mut net = net(1);
    with_zeros(&mut net, "a.w", |_| true);
    let small = check_compact(&net);
    assert_eq!(dims(&small, "a.w")[0], 1);
    assert_eq!(dims(&small, "b.w")[..2], [1, 1], "it makes constants then");
}

#[test]
fn flattened_maps_gates_shortcuts_and_concatenations() {
    let mut net = Net::new(&[2, 4, 4])
        .conv("x -> a", &[4, 2, 1, 1], &[])
        .node("HardSwish", "a -> as", &[])
        .conv("as -> depth", &[4, 1, 3, 3], &[("group", 4.into())])
        .node("GlobalAveragePool", "depth -> squeezed", &[])
        .conv("squeezed -> gate", &[4, 4, 1, 1], &[])
        .node("Sigmoid", "gate -> open", &[])
        .node("Mul", "depth open -> gated", &[])
        .conv("x -> c", &[4, 2, 3, 3], &[])
        .node("Add", "gated c -> sum", &[])
        .node("Tanh", "sum -> t", &[])
        .conv("x -> d", &[3, 2, 1, 1], &[])
        .node("Concat", "t d -> all", &[("axis", 1.into())])
        .node("Flatten", "all -> flat", &[])
        .dense("flat -> z", [3, 112]);
    for weight in ["depth.w", "c.w"] {
        with_zeros(&mut net, weight, |at| at[0] == 2);
    }
    with_zeros(&mut net, "d.w", |at| at[0] == 0);
    with_zeros(&mut net, "depth.b", |at| at[0] == 2);
    let small = check_compact(&net);
    // What the shortcut makes of the third channel, and the first one of `d`, are constants that the head takes.
    assert_eq!(dims(&small, "z.w"), [3, 80]);
    assert_eq!(
        (dims(&small, "depth.w"), dims(&small, "a.w"), dims(&small, "d.w")),
        (&[3, 1, 3, 3][..], &[3, 2, 1, 1][..], &[2, 2, 1, 1][..])
    );
}

/// Hidden units of a transformer, whose layers are products and have no bias to take a constant.
#[test]
fn hidden_units_behind_products() {
    let mut net = Net::new(&[4, 6])
        .weight("up.w", &[6, 8])
        .weight("up.b", &[8])
        .weight("down.w", &[8, 6])
        .node("MatMul", "x up.w -> u", &[])
        .node("Add", "u up.b -> up", &[])
        .node("Erf", "up -> e", &[])
        .node("Mul", "up e -> gelu", &[])
        .node("MatMul", "gelu down.w -> down", &[])
        .node("Add", "down x -> sum", &[])
        .ints("axis", &[1])
        .node("ReduceMean", "sum axis -> mean", &[("keepdims", 0.into())])
        .dense("mean -> z", [3, 6]);
    with_zeros(&mut net, "up.w", |at| at[1] < 3);
    with_zeros(&mut net, "up.b", |at| at[0] < 2);
    with_zeros(&mut net, "down.w", |at| at[0] == 6);
    // Two are zero, one is a constant that nothing takes, one is not read.
    assert_eq!(dims(&check_compact(&net), "down.w"), [5, 6]);
}

/// Whatever is zero, the result is the same.
#[test]
fn random_zeros() {
    let mut smaller = 0;
    for seed in 0..12 {
        let mut net = net(if seed % 2 == 0 { 1 } else { 3 });
        let mut random = Random::new(seed);
        for weight in ["a.w", "b.w", "z.w", "an.scale", "an.bias", "a.b", "b.b"] {
            with_zeros(&mut net, weight, |_| random.below(20) < 17);
        }
        smaller += usize::from(dims(&check_compact(&net), "b.w") != dims(net.shaped().model(), "b.w"));
    }
    assert!(smaller > 6, "{smaller}");
}
