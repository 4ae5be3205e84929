//! Residual blocks, and their removal: a model without a block computes what it computes with a branch of zeros.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fmt::Write;

use assay_graph::{Model, Tensor, Value, blocks, check, remove_blocks};
use assay_reference::{Net, compare, run};

fn text(net: &Net) -> String {
    let mut text = String::new();
    for block in blocks(&net.shaped()) {
        write!(text, "{}.{} {} of {}", block.stage, block.position, block.output, block.input).unwrap();
        match &block.fixed {
            Some(why) => writeln!(text, ": {why}").unwrap(),
            None => writeln!(text, " through {}", block.branch.join(", ")).unwrap(),
        }
    }
    text
}

/// Removes blocks, each given by its output and the layer at whose end its branch is zero without weights.
#[track_caller]
fn check_removal(net: &Net, removed: &[(&str, &[&str])]) -> Model {
    let outputs: Vec<Value> = removed.iter().map(|(output, _)| Value::from(*output)).collect();
    let shallow = remove_blocks(&net.shaped(), &outputs).unwrap();
    check(&shallow).unwrap();
    let mut zeroed = net.clone();
    for weight in removed.iter().flat_map(|(_, weights)| *weights) {
        let tensor = &mut zeroed.graph.initializers[&Value::from(*weight)];
        *tensor = Tensor::rounded(tensor.dtype(), tensor.dims(), &vec![0.0; tensor.len()]);
    }
    let logits = |model: &Model| run(model, &[("x", net.x(3))]).unwrap()[&Value::from("z")].f64().clone();
    compare("without the blocks", &logits(&shallow), &logits(zeroed.shaped().model()), 1e-12);
    for (_, weights) in removed {
        assert!(weights.iter().all(|weight| !shallow.graph.initializers.contains_key(*weight)), "{weights:?} is left");
    }
    shallow
}

/// Three stages: of two blocks behind a stem, of a block that halves the map and one that does not, and of one.
fn residual() -> Net {
    let block = |net: Net, x: &str, name: &str| {
        net.conv(&format!("{x} -> {name}.a"), &[4, 4, 3, 3], &[])
            .norm(&format!("{name}.a -> {name}.an"), 4)
            .node("Relu", &format!("{name}.an -> {name}.ar"), &[])
            .conv(&format!("{name}.ar -> {name}.b"), &[4, 4, 3, 3], &[])
            .norm(&format!("{name}.b -> {name}.bn"), 4)
            .node("Add", &format!("{name}.bn {x} -> {name}"), &[])
            .node("Relu", &format!("{name} -> {name}.r"), &[])
    };
    let net = Net::new(&[2, 4, 4]).conv("x -> stem", &[4, 2, 3, 3], &[]).node("Relu", "stem -> s", &[]);
    let net = block(block(net, "s", "one"), "one.r", "two");
    let stride = [("strides", vec![2, 2].into()), ("pads", vec![0, 0, 0, 0].into())];
    let net = net
        .conv("two.r -> half.a", &[4, 4, 1, 1], &stride)
        .conv("two.r -> half.b", &[4, 4, 1, 1], &stride)
        .node("Add", "half.a half.b -> half", &[])
        .node("Relu", "half -> half.r", &[]);
    block(net, "half.r", "three").head("three.r", 4)
}

#[test]
fn blocks_of_a_residual_net() {
    insta::assert_snapshot!(text(&residual()), @r#"
    0.0 one of s through the one.a, the one.an, the one.ar, the one.b, the one.bn
    0.1 two of one.r through the two.a, the two.an, the two.ar, the two.b, the two.bn
    1.0 half of two.r: its shortcut is not its input "two.r" unchanged
    1.1 three of half.r through the three.a, the three.an, the three.ar, the three.b, the three.bn
    "#);
    let zero: &[(&str, &[&str])] = &[
        ("one", &["one.bn.scale", "one.bn.bias", "one.bn.mean"]),
        ("two", &["two.bn.scale", "two.bn.bias", "two.bn.mean"]),
        ("three", &["three.bn.scale", "three.bn.bias", "three.bn.mean"]),
    ];
    for removed in zero.chunks(1) {
        check_removal(&residual(), removed);
    }
    let shallow = check_removal(&residual(), zero);
    let convolutions = shallow.graph.nodes.iter().filter(|node| node.operator == "Conv").count();
    assert_eq!(convolutions, 3, "the stem and the block that halves the map");
}

/// The branch begins with the activation, the shortcut before it; and the last sum is an output of the model.
#[test]
fn blocks_before_their_activations() {
    let mut net = Net::new(&[3, 4, 4])
        .conv("x -> stem", &[4, 3, 3, 3], &[])
        .norm("stem -> n", 4)
        .node("Relu", "n -> r", &[])
        .conv("r -> c", &[4, 4, 3, 3], &[])
        .node("Identity", "stem -> copy", &[])
        .node("Add", "copy c -> sum", &[])
        .head("sum", 4);
    net.graph.outputs.push(assay_graph::ValueInfo::untyped("sum".into()));
    insta::assert_snapshot!(text(&net), @"0.0 sum of stem through the n, the r, the c");
    let shallow = check_removal(&net, &[("sum", &["c.w", "c.b"])]);
    assert_eq!(shallow.graph.outputs, net.graph.outputs);
}

#[test]
fn inverted_bottlenecks_and_transformers() {
    let net = Net::new(&[4, 6])
        .weight("up.w", &[6, 5])
        .weight("down.w", &[5, 6])
        .floats("third", &[], &[3.0])
        .floats("some", &[], &[0.044])
        .node("MatMul", "x up.w -> up", &[])
        .node("Pow", "up third -> cube", &[])
        .node("Mul", "cube some -> little", &[])
        .node("Add", "up little -> inside", &[])
        .node("Tanh", "inside -> tanh", &[])
        .node("MatMul", "tanh down.w -> down", &[])
        .node("Add", "down x -> sum", &[])
        .ints("axis", &[1])
        .node("ReduceMean", "sum axis -> mean", &[("keepdims", 0.into())])
        .dense("mean -> z", [3, 6]);
    // A sum within a function of one number is no block.
    insta::assert_snapshot!(text(&net), @"0.0 sum of x through the up, the cube, the little, the inside, the tanh, the down");
    check_removal(&net, &[("sum", &["down.w"])]);
}

#[test]
fn what_cannot_be_removed_says_why() {
    let refused = |net: &Net, output: &str| remove_blocks(&net.shaped(), &[output.into()]).unwrap_err().to_string();
    let net = residual();
    insta::assert_snapshot!(refused(&net, "half"), @r#"remove blocks: unsupported: the block of "half" must stay: its shortcut is not its input "two.r" unchanged"#);
    insta::assert_snapshot!(refused(&net, "s"), @r#"remove blocks: unsupported: "s" is not the output of a residual block; these are: "one", "two", "half", "three""#);
    // The branch also reads what the shortcut was made from.
    let net = Net::new(&[4, 4, 4])
        .conv("x -> a", &[4, 4, 3, 3], &[])
        .conv("a -> b", &[4, 4, 3, 3], &[])
        .node("Mul", "b x -> c", &[])
        .node("Add", "c a -> sum", &[])
        .head("sum", 4);
    insta::assert_snapshot!(refused(&net, "sum"), @r#"remove blocks: unsupported: the block of "sum" must stay: it is not made from "a" alone: "x" takes another way"#);
}
