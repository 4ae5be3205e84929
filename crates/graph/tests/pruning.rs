//! Groups of channels, and their removal: the pruned model computes what the model computes in which the same channels are zero
//! where they are read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fmt::Write;

use assay_graph::{
    Attribute, Canonical, Group, Kind, Limits, Model, Removal, Shaped, Tensor, Value, channels_to_remove, check,
    groups, inspect, prune, zeroed,
};
use assay_reference::{Array, Net, Random, compare, probe, run};

/// What the groups of a model are, one line each: how many channels, who makes them, the weights of the first, who reads them.
fn text(net: &Net) -> String {
    let mut text = String::new();
    for group in groups(&net.shaped()) {
        let makers: Vec<&str> = group.producers.iter().map(|p| p.node.as_str()).collect();
        write!(text, "{} of {}", group.channels.len(), makers.join(", ")).unwrap();
        if let Some(fixed) = &group.fixed {
            writeln!(text, ": fixed: {fixed}").unwrap();
            continue;
        }
        let weights = group.channels[0].weights.iter();
        let weights: Vec<String> = weights.map(|w| format!("{}/{}{:?}", w.value, w.axis, w.positions)).collect();
        let readers: Vec<&str> = group.consumers.iter().map(|c| c.node.as_str()).collect();
        let internal = if group.is_internal() { "" } else { ", not internal" };
        writeln!(text, " to {}{internal}: {}", readers.join(", "), weights.join(" ")).unwrap();
    }
    text
}

/// Random channels of all groups that can lose some, never all of one.
fn random(groups: &[Group], random: &mut Random) -> Vec<Removal> {
    let free = groups.iter().filter(|group| group.fixed.is_none());
    free.map(|group| {
        let kept = random.below(group.channels.len() as u64) as usize;
        let goes = |random: &mut Random| random.below(2) == 0;
        let channels = (0..group.channels.len()).filter(|&i| i != kept && goes(random)).collect();
        Removal { group: group.id, channels }
    })
    .collect()
}

fn logits(model: &Model, x: &Array) -> Array {
    run(model, &[("x", x.clone())]).unwrap()[&Value::from("z")].clone()
}

/// Pruned equals zeroed, for many choices of channels at once.
#[track_caller]
fn check_pruning(net: &Net) {
    let source = net.shaped();
    let groups = groups(&source);
    assert!(
        groups.iter().any(|group| group.fixed.is_none() && group.channels.len() > 1),
        "nothing to prune:\n{}",
        text(net)
    );
    let choices = (0..).map(|seed| random(&groups, &mut Random::new(seed)));
    // A choice may leave nothing of a part of a split.
    for removals in choices.filter(|removals| prune(&source, removals).is_ok()).take(6) {
        check_removals(&source, &net.x(3), &removals);
    }
}

#[track_caller]
fn check_removals(source: &Shaped, x: &Array, removals: &[Removal]) -> Model {
    let pruned = prune(source, removals).unwrap();
    let zeroed = zeroed(source, removals).unwrap();
    check(&pruned).unwrap();
    check(&zeroed).unwrap();
    let expected = logits(&zeroed, x);
    compare("pruned", logits(&pruned, x).f64(), expected.f64(), 1e-12);
    let loaded = Model::from_bytes(pruned.to_bytes(), &Limits::default()).unwrap();
    assert_eq!(loaded, pruned, "a file of it");
    let count = |model: &Model| model.graph.initializers.values().map(Tensor::len).sum::<usize>();
    let removed = removals.iter().any(|removal| !removal.channels.is_empty());
    assert!(!removed || count(&pruned) < count(source.model()), "it is smaller");
    // It is a model like any other.
    let _ = probe(Canonical::new(pruned.clone()).unwrap(), &[("x", x.clone())]);
    pruned
}

#[track_caller]
fn check_groups(net: &Net) -> String {
    check_pruning(net);
    text(net)
}

/// Two convolutions with all that usually stands between them, and a flattened map.
fn plain() -> Net {
    Net::new(&[2, 6, 6])
        .conv("x -> a", &[4, 2, 3, 3], &[])
        .norm("a -> an", 4)
        .node("Relu", "an -> ar", &[])
        .node("MaxPool", "ar -> ap", &[("kernel_shape", vec![2, 2].into()), ("strides", vec![2, 2].into())])
        .conv("ap -> b", &[5, 4, 3, 3], &[])
        .node("Sigmoid", "b -> bs", &[])
        .node("Flatten", "bs -> f", &[])
        .dense("f -> c", [6, 45])
        .node("Tanh", "c -> ct", &[])
        .dense("ct -> z", [3, 6])
}

#[test]
fn a_plain_net_with_a_flattened_map() {
    insta::assert_snapshot!(check_groups(&plain()), @r#"
4 of the a to the b: a.w/0[0] a.b/0[0] an.scale/0[0] an.bias/0[0] an.mean/0[0] an.var/0[0] b.w/1[0]
5 of the b to the c: b.w/0[0] b.b/0[0] c.w/1[0, 1, 2, 3, 4, 5, 6, 7, 8]
6 of the c to the z: c.w/0[0] c.b/0[0] z.w/1[0]
3 of the z: fixed: "z" is an output of the model
"#);
}

#[test]
fn shortcuts_tie_the_layers_that_are_added() {
    let net = Net::new(&[2, 4, 4])
        .conv("x -> stem", &[4, 2, 3, 3], &[])
        .node("Relu", "stem -> s", &[])
        .conv("s -> a", &[6, 4, 3, 3], &[])
        .norm("a -> an", 6)
        .node("Relu", "an -> ar", &[])
        .conv("ar -> b", &[4, 6, 3, 3], &[])
        .node("Add", "b s -> sum", &[])
        .node("Relu", "sum -> r", &[])
        .conv("r -> c", &[5, 4, 1, 1], &[("strides", vec![2, 2].into()), ("pads", vec![0, 0, 0, 0].into())])
        .conv("r -> d", &[5, 4, 3, 3], &[("strides", vec![2, 2].into())])
        .node("Add", "c d -> projected", &[])
        .head("projected", 5);
    insta::assert_snapshot!(check_groups(&net), @r#"
        4 of the stem, the b to the a, the c, the d, not internal: stem.w/0[0] stem.b/0[0] a.w/1[0] b.w/0[0] b.b/0[0] c.w/1[0] d.w/1[0]
        6 of the a to the b: a.w/0[0] a.b/0[0] an.scale/0[0] an.bias/0[0] an.mean/0[0] an.var/0[0] b.w/1[0]
        5 of the c, the d to the z, not internal: c.w/0[0] c.b/0[0] d.w/0[0] d.b/0[0] z.w/1[0]
        3 of the z: fixed: "z" is an output of the model
        "#);
}

#[test]
fn depthwise_convolutions_and_gates_carry_channels() {
    let net = Net::new(&[2, 4, 4])
        .conv("x -> expand", &[6, 2, 1, 1], &[])
        .node("Relu", "expand -> e", &[])
        .conv("e -> depth", &[12, 1, 3, 3], &[("group", 6.into())])
        .node("HardSwish", "depth -> d", &[])
        .node("GlobalAveragePool", "d -> squeezed", &[])
        .conv("squeezed -> fc1", &[3, 12, 1, 1], &[])
        .node("Relu", "fc1 -> fr", &[])
        .conv("fr -> fc2", &[12, 3, 1, 1], &[])
        .node("Sigmoid", "fc2 -> gate", &[])
        .node("Mul", "d gate -> gated", &[])
        .conv("gated -> project", &[4, 12, 1, 1], &[])
        .head("project", 4);
    insta::assert_snapshot!(check_groups(&net), @r#"
        6 of the expand, the fc2 to the fc1, the project, not internal: expand.w/0[0] expand.b/0[0] depth.w/0[0, 1] depth.b/0[0, 1] fc1.w/1[0, 1] fc2.w/0[0, 1] fc2.b/0[0, 1] project.w/1[0, 1]
        3 of the fc1 to the fc2: fc1.w/0[0] fc1.b/0[0] fc2.w/1[0]
        4 of the project to the z: project.w/0[0] project.b/0[0] z.w/1[0]
        3 of the z: fixed: "z" is an output of the model
        "#);
}

#[test]
fn groups_of_a_convolution_go_whole_or_lose_the_same_positions() {
    let net = Net::new(&[2, 4, 4])
        .conv("x -> a", &[8, 2, 1, 1], &[])
        .conv("a -> many", &[8, 2, 3, 3], &[("group", 4.into())])
        .conv("many -> b", &[8, 8, 1, 1], &[])
        .conv("b -> few", &[6, 4, 3, 3], &[("group", 2.into())])
        .head("few", 6);
    insta::assert_snapshot!(check_groups(&net), @r#"
        4 of the a to the b: a.w/0[0, 1] a.b/0[0, 1] many.w/0[0, 1] many.b/0[0, 1] b.w/1[0, 1]
        4 of the b to the few: b.w/0[0, 4] b.b/0[0, 4] few.w/1[0]
        3 of the few to the z: few.w/0[0, 3] few.b/0[0, 3] z.w/1[0, 3]
        3 of the z: fixed: "z" is an output of the model
        "#);
}

#[test]
fn transposed_convolutions_count_the_other_way() {
    let net = Net::new(&[2, 3, 3])
        .conv("x -> a", &[6, 2, 1, 1], &[])
        .weight("up.w", &[6, 4, 2, 2])
        .weight("up.b", &[4])
        .node("ConvTranspose", "a up.w up.b -> up", &[("strides", vec![2, 2].into())])
        .conv("up -> b", &[6, 4, 1, 1], &[])
        .weight("deep.w", &[6, 2, 2, 2])
        .node("ConvTranspose", "b deep.w -> deep", &[("group", 6.into())])
        .conv("deep -> c", &[6, 12, 1, 1], &[])
        .weight("pair.w", &[6, 2, 2, 2])
        .node("ConvTranspose", "c pair.w -> pair", &[("group", 2.into())])
        .head("pair", 4);
    insta::assert_snapshot!(check_groups(&net), @r#"
        6 of the a to the up: a.w/0[0] a.b/0[0] up.w/0[0]
        4 of the up to the b: up.w/1[0] up.b/0[0] b.w/1[0]
        6 of the b to the c: b.w/0[0] b.b/0[0] deep.w/0[0] c.w/1[0, 1]
        3 of the c to the pair: c.w/0[0, 3] c.b/0[0, 3] pair.w/0[0, 3]
        2 of the pair to the z: pair.w/1[0] z.w/1[0, 2]
        3 of the z: fixed: "z" is an output of the model
        "#);
}

#[test]
fn a_concatenation_shifts_positions() {
    let net = Net::new(&[2, 4, 4])
        .conv("x -> a", &[3, 2, 3, 3], &[])
        .conv("x -> b", &[4, 2, 1, 1], &[])
        .node("Concat", "a b -> ab", &[("axis", 1.into())])
        .norm("ab -> n", 7)
        .conv("n -> c", &[2, 7, 1, 1], &[])
        .node("Concat", "ab c -> abc", &[("axis", (-3).into())])
        .head("abc", 9);
    insta::assert_snapshot!(check_groups(&net), @r#"
        3 of the a to the c, the z: a.w/0[0] a.b/0[0] n.scale/0[0] n.bias/0[0] n.mean/0[0] n.var/0[0] c.w/1[0] z.w/1[0]
        4 of the b to the c, the z: b.w/0[0] b.b/0[0] n.scale/0[3] n.bias/0[3] n.mean/0[3] n.var/0[3] c.w/1[3] z.w/1[3]
        2 of the c to the z: c.w/0[0] c.b/0[0] z.w/1[7]
        3 of the z: fixed: "z" is an output of the model
        "#);
}

#[test]
fn parts_of_a_split_and_slices() {
    let net = Net::new(&[2, 4, 4])
        .conv("x -> a", &[8, 2, 1, 1], &[])
        .node("Split", "a -> left right", &[("axis", 1.into()), ("num_outputs", 2.into())])
        .node("Sigmoid", "right -> gate", &[])
        .node("Mul", "left gate -> glu", &[])
        .conv("glu -> b", &[9, 4, 1, 1], &[])
        .ints("sizes", &[2, 7])
        .node("Split", "b sizes -> small large", &[("axis", 1.into())])
        .ints("from", &[-3])
        .ints("to", &[i64::MAX])
        .ints("one", &[1])
        .node("Slice", "large from to one -> last", &[])
        .ints("picked", &[0, -4, 1])
        .node("Gather", "large picked -> some", &[("axis", 1.into())])
        .node("Concat", "small last some -> all", &[("axis", 1.into())])
        .head("all", 8);
    insta::assert_snapshot!(check_groups(&net), @r#"
    4 of the a to the b: a.w/0[0, 4] a.b/0[0, 4] b.w/1[0]
    9 of the b to the z: b.w/0[0] b.b/0[0] z.w/1[0]
    3 of the z: fixed: "z" is an output of the model
    "#);
}

#[test]
fn attention_loses_heads_and_hidden_units() {
    let net = Net::new(&[5, 8])
        .weight("ln.scale", &[8])
        .weight("ln.bias", &[8])
        .weight("qkv.w", &[8, 24])
        .weight("qkv.b", &[24])
        .weight("out.w", &[8, 8])
        .weight("up.w", &[8, 10])
        .weight("up.b", &[10])
        .weight("down.w", &[10, 8])
        .ints("split", &[0, 5, 3, 4, 2])
        .ints("merge", &[0, -1, 8])
        .ints("first", &[0])
        .floats("scale", &[], &[0.5])
        .node("LayerNormalization", "x ln.scale ln.bias -> ln", &[])
        .node("MatMul", "ln qkv.w -> projected", &[])
        .node("Add", "projected qkv.b -> qkv", &[])
        .node("Reshape", "qkv split -> heads", &[])
        .node("Transpose", "heads -> turned", &[("perm", vec![2, 0, 3, 1, 4].into())])
        .node("Split", "turned -> q1 k1 v1", &[("axis", 0.into()), ("num_outputs", 3.into())])
        .node("Squeeze", "q1 first -> q", &[])
        .node("Squeeze", "k1 first -> k", &[])
        .node("Squeeze", "v1 first -> v", &[])
        .node("Transpose", "k -> kt", &[("perm", vec![0, 1, 3, 2].into())])
        .node("MatMul", "q kt -> scores", &[])
        .node("Mul", "scores scale -> scaled", &[])
        .node("Softmax", "scaled -> p", &[("axis", (-1).into())])
        .node("MatMul", "p v -> mixed", &[])
        .node("Transpose", "mixed -> back", &[("perm", vec![0, 2, 1, 3].into())])
        .node("Reshape", "back merge -> merged", &[])
        .node("MatMul", "merged out.w -> out", &[])
        .node("Add", "out x -> residual", &[])
        .node("MatMul", "residual up.w -> u", &[])
        .node("Add", "u up.b -> up", &[])
        .node("Erf", "up -> e", &[])
        .node("Mul", "up e -> gelu", &[])
        .node("MatMul", "gelu down.w -> down", &[])
        .node("Add", "down residual -> tokens", &[])
        .ints("axis", &[1])
        .node("ReduceMean", "tokens axis -> mean", &[("keepdims", 0.into())])
        .dense("mean -> z", [3, 8]);
    insta::assert_snapshot!(check_groups(&net), @r#"
        4 of the projected to the out: qkv.w/1[0, 1, 8, 9, 16, 17] qkv.b/0[0, 1, 8, 9, 16, 17] out.w/0[0, 1]
        8 of the out, the down: fixed: "x" is an input of the model
        10 of the u to the down: up.w/1[0] up.b/0[0] down.w/0[0]
        3 of the z: fixed: "z" is an output of the model
        "#);
}

#[test]
fn shared_weights_tie_the_layers_that_read_them_and_shared_vectors_do_not() {
    let net = Net::new(&[2, 4, 4])
        .conv("x -> a", &[4, 2, 1, 1], &[])
        .weight("twice.w", &[4, 4, 3, 3])
        .weight("vector", &[4])
        .node("Conv", "a twice.w vector -> b", &[("pads", vec![1, 1, 1, 1].into())])
        .node("Relu", "b -> br", &[])
        .node("Conv", "br twice.w vector -> c", &[("pads", vec![1, 1, 1, 1].into())])
        .weight("d.w", &[4, 4, 1, 1])
        .node("Conv", "c d.w vector -> d", &[])
        .head("d", 4);
    insta::assert_snapshot!(check_groups(&net), @r#"
        4 of the a, the b, the c to the b, the c, the d, not internal: a.w/0[0] a.b/0[0] twice.w/0[0] twice.w/1[0] vector/0[0] d.w/1[0] vector/0[0]
        4 of the d to the z: d.w/0[0] z.w/1[0] vector/0[0]
        3 of the z: fixed: "z" is an output of the model
        "#);
}

#[test]
fn copies_of_weights_are_weights_of_their_own() {
    let net = Net::new(&[3])
        .weight("w", &[4, 3])
        .weight("v", &[4, 4])
        .node("Identity", "v -> copy", &[])
        .weight("t", &[5, 4])
        .node("Transpose", "t -> turned", &[])
        .node("Gemm", "x w -> a", &[("transB", 1.into())])
        .node("Relu", "a -> ar", &[])
        .node("Gemm", "ar v -> b", &[])
        .node("Relu", "b -> br", &[])
        .node("Gemm", "br copy -> c", &[])
        .node("MatMul", "c turned -> d", &[])
        .dense("d -> z", [3, 5]);
    insta::assert_snapshot!(check_groups(&net), @r#"
        4 of the a to the b: w/0[0] v/0[0]
        4 of the b to the c: v/1[0] copy/0[0]
        4 of the c to the d: t/1[0] copy/1[0]
        5 of the d to the z: t/0[0] z.w/1[0]
        3 of the z: fixed: "z" is an output of the model
        "#);
}

#[test]
fn everything_else_that_carries_channels() {
    let net = Net::new(&[2, 4, 4])
        .conv("x -> a", &[4, 2, 1, 1], &[])
        .between("slope", &[4, 1, 1], 0.1, 0.3)
        .node("PRelu", "a slope -> p", &[])
        .ints("pads", &[0, 0, 1, 1, 0, 0, 1, 1])
        .floats("seven", &[], &[7.0])
        .node("Pad", "p pads seven -> padded", &[])
        .ints("sizes", &[4, 12, 12])
        .node(
            "Resize",
            "padded _ _ sizes -> large",
            &[
                ("axes", vec![1, 2, 3].into()),
                ("mode", "nearest".into()),
                ("nearest_mode", "floor".into()),
                ("coordinate_transformation_mode", "asymmetric".into()),
            ],
        )
        .node(
            "AveragePool",
            "large -> averaged",
            &[("kernel_shape", vec![3, 3].into()), ("strides", vec![3, 3].into())],
        )
        .weight("in.scale", &[4])
        .weight("in.bias", &[4])
        .node("InstanceNormalization", "averaged in.scale in.bias -> normal", &[])
        .conv("normal -> b", &[8, 4, 1, 1], &[])
        .node("DepthToSpace", "b -> wide", &[("blocksize", 2.into())])
        .node("SpaceToDepth", "wide -> deep", &[("blocksize", 2.into())])
        .ints("like", &[1, 8, 4, 4])
        .weight("offset", &[8, 1, 1])
        .node("Expand", "offset like -> offsets", &[])
        .node("Add", "deep offsets -> moved", &[])
        .weight("mix", &[8, 5])
        .node("Einsum", "moved mix -> mixed", &[("equation", "nchw,cd->ndhw".into())])
        .ints("spatial", &[2, 3])
        .node("ReduceMax", "mixed spatial -> most", &[])
        .node("Squeeze", "most spatial -> flat", &[])
        .node("Clip", "flat -> clipped", &[])
        .dense("clipped -> z", [3, 5]);
    insta::assert_snapshot!(check_groups(&net), @r#"
        4 of the a to the b: a.w/0[0] a.b/0[0] slope/0[0] in.scale/0[0] in.bias/0[0] b.w/1[0]
        2 of the b to the mixed: b.w/0[0, 2, 4, 6] b.b/0[0, 2, 4, 6] offset/0[0, 2, 4, 6] mix/0[0, 2, 4, 6]
        5 of the mixed to the z: mix/1[0] z.w/1[0]
        3 of the z: fixed: "z" is an output of the model
        "#);
}

/// A shortcut that pads its channels with zeros, as CIFAR's residual nets have it.
#[test]
fn padding_of_channels_stays() {
    let net = Net::new(&[2, 4, 4])
        .conv("x -> a", &[3, 2, 1, 1], &[])
        .ints("pads", &[0, 1, 0, 0, 0, 2, 0, 0])
        .node("Pad", "a pads -> wide", &[])
        .conv("a -> b", &[6, 3, 3, 3], &[])
        .node("Add", "b wide -> sum", &[])
        .head("sum", 6);
    insta::assert_snapshot!(check_groups(&net), @r#"
        3 of the a, the b to the b, the z, not internal: a.w/0[0] a.b/0[0] b.w/0[1] b.w/1[0] b.b/0[1] z.w/1[1]
        3 of the b: fixed: node "the wide" (Pad): it is padding
        3 of the z: fixed: "z" is an output of the model
        "#);
}

#[test]
fn what_cannot_lose_channels_says_why() {
    let of = |net: Net| text(&net);
    let conv = || Net::new(&[2, 4, 4]).conv("x -> a", &[4, 2, 1, 1], &[]);
    let ends = |net: Net| net.head("y", 4);
    insta::assert_snapshot!(of(ends(conv().node("LRN", "a -> y", &[("size", 3.into())]))), @r#"
    4 of the a: fixed: node "the y" (LRN): it normalises over neighbouring channels
    3 of the z: fixed: "z" is an output of the model
    "#);
    insta::assert_snapshot!(of(ends(conv().node("Softmax", "a -> y", &[("axis", 1.into())]))), @r#"
    4 of the a: fixed: node "the y" (Softmax): it normalises over it
    3 of the z: fixed: "z" is an output of the model
    "#);
    insta::assert_snapshot!(of(ends(conv().node("Sign", "a -> y", &[]))), @r#"
    4 of the a: fixed: node "the y" (Sign): no rule for this operator; remove it from the model or use a method that does not need it
    3 of the z: fixed: "z" is an output of the model
    "#);
    let grouped = conv().ints("to", &[0, 2, 32]).ints("back", &[-1, 4, 4, 4]);
    let grouped = grouped.node("Reshape", "a to -> g", &[]).node("Reshape", "g back -> y", &[]);
    insta::assert_snapshot!(of(ends(grouped)), @r#"
    4 of the a: fixed: node "the g" (Reshape): [batch, 4, 4, 4] becomes [batch, 2, 32], in which its axes are mixed
    3 of the z: fixed: "z" is an output of the model
    "#);
    let indices = conv().node("MaxPool", "a -> y i", &[("kernel_shape", vec![2, 2].into())]);
    insta::assert_snapshot!(of(ends(indices)), @r#"
    4 of the a: fixed: node "the y" (MaxPool): unsupported: its output of indices counts through all channels
    3 of the z: fixed: "z" is an output of the model
    "#);
    let layer = conv().weight("scale", &[4, 4, 4]).node("LayerNormalization", "a scale -> y", &[("axis", 1.into())]);
    insta::assert_snapshot!(of(ends(layer)), @r#"
    4 of the a: fixed: node "the y" (LayerNormalization): it normalises over it
    3 of the z: fixed: "z" is an output of the model
    "#);
    let squeezed =
        conv().node("GlobalAveragePool", "a -> p", &[]).node("Squeeze", "p -> f", &[]).dense("f -> z", [3, 4]);
    insta::assert_snapshot!(of(squeezed), @r#"
        4 of the a: fixed: node "the f" (Squeeze): unsupported: without axes it would also remove an axis that has one channel left
        3 of the z: fixed: "z" is an output of the model
        "#);
    let shape = conv().node("Shape", "a -> s", &[]).node("Reshape", "a s -> y", &[]);
    insta::assert_snapshot!(of(ends(shape)), @r#"
    4 of the a: fixed: node "the s" (Shape): no rule for this operator; remove it from the model or use a method that does not need it
    3 of the z: fixed: "z" is an output of the model
    "#);
}

#[test]
fn removals_that_make_no_sense_are_refused() {
    let net = plain();
    let source = net.shaped();
    let groups = groups(&source);
    let refused = |group: usize, channels: &[usize]| {
        let removal = Removal { group: groups[group].id, channels: channels.to_vec() };
        let error = prune(&source, std::slice::from_ref(&removal)).unwrap_err();
        assert_eq!(zeroed(&source, &[removal]).unwrap_err().to_string().replace("zeroed", "prune"), error.to_string());
        assert_eq!(error.kind(), Kind::Unsupported);
        error.to_string()
    };
    insta::assert_snapshot!(refused(0, &[0, 1, 2, 3]), @"prune: unsupported: all 4 channels of group 0; keep at least one");
    insta::assert_snapshot!(refused(0, &[4]), @"prune: unsupported: channel 4 of group 0, which has 4");
    insta::assert_snapshot!(refused(3, &[0]), @r#"prune: unsupported: group 3, made by "the z", cannot lose channels: "z" is an output of the model"#);
    let small = Net::new(&[2]).dense("x -> z", [3, 2]).shaped();
    let other = prune(&small, &[Removal { group: groups[1].id, channels: vec![0] }]).unwrap_err();
    insta::assert_snapshot!(other, @"prune: unsupported: group 1 of a model with 1: groups are those of this very model");
    assert!(prune(&source, &[]).is_ok());
}

#[test]
fn a_part_of_a_split_that_would_be_empty_is_refused() {
    let net = Net::new(&[2, 4, 4])
        .conv("x -> a", &[4, 2, 1, 1], &[])
        .node("Split", "a -> left right", &[("axis", 1.into()), ("num_outputs", 2.into())])
        .conv("left -> b", &[3, 2, 1, 1], &[])
        .conv("right -> c", &[3, 2, 1, 1], &[])
        .node("Add", "b c -> sum", &[])
        .head("sum", 3);
    let source = net.shaped();
    let of_a = groups(&source).remove(0);
    let error = prune(&source, &[Removal { group: of_a.id, channels: vec![0, 1] }]).unwrap_err();
    insta::assert_snapshot!(error, @r#"prune: unsupported: nothing would be left of "left"; keep a channel of it"#);
}

/// By hand: kernels of 4·2·9 and 5·4·9 weights lose one filter each, the layer behind the flattened map 9 of its 45 rows.
#[test]
fn weights_and_multiplications_that_are_left() {
    let net = plain();
    let source = net.shaped();
    let groups = groups(&source);
    let one = |group: usize| Removal { group: groups[group].id, channels: vec![1] };
    let pruned = check_removals(&source, &net.x(2), &[one(0), one(1), one(2)]);
    let before = inspect(&source);
    assert_eq!(before.macs, 36 * 4 * 2 * 9 + 9 * 5 * 4 * 9 + 6 * 45 + 3 * 6);
    let after = inspect(&probe(Canonical::new(pruned).unwrap(), &[("x", net.x(2))]));
    assert_eq!(after.macs, 36 * 3 * 2 * 9 + 9 * 4 * 3 * 9 + 5 * 36 + 3 * 5);
    assert_eq!(after.weights.elements, 3 * 2 * 9 + 3 + 4 * 3 + 4 * 3 * 9 + 4 + 5 * 36 + 5 + 3 * 5 + 3);
}

#[test]
fn targets_of_reshapes_and_group_counts_follow() {
    let net = Net::new(&[2, 3, 3])
        .conv("x -> a", &[4, 2, 1, 1], &[])
        .conv("a -> depth", &[4, 1, 3, 3], &[("group", 4.into())])
        .ints("target", &[-1, 36])
        .node("Reshape", "depth target -> f", &[])
        .dense("f -> z", [3, 36]);
    let source = net.shaped();
    let removal = Removal { group: groups(&source)[0].id, channels: vec![0, 2] };
    let pruned = check_removals(&source, &net.x(2), &[removal]);
    let [_, depth, reshape, _] = &pruned.graph.nodes[..] else { panic!("{pruned}") };
    assert_eq!(depth.attributes["group"], Attribute::Int(2));
    assert_eq!(pruned.graph.initializers[reshape.input(1).unwrap()].to_i64().unwrap(), [-1, 18]);
    assert_eq!(pruned.graph.initializers["depth.w"].dims(), [2, 1, 3, 3]);
}

#[test]
fn rounding_is_to_even_and_never_takes_all() {
    let removed = |channels| channels_to_remove(0.1, channels);
    assert_eq!([1, 5, 6, 15, 25, 35, 64].map(removed), [0, 0, 1, 2, 2, 4, 6]);
    assert_eq!(
        [0.0, 0.5, 0.99, 1.0, 7.0, f64::NAN, -1.0].map(|rate| channels_to_remove(rate, 3)),
        [0, 2, 2, 2, 2, 0, 0]
    );
    assert_eq!(channels_to_remove(1.0, 0), 0);
}
