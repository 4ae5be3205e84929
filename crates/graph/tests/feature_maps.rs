//! Larger feature maps: by a larger input, and by smaller strides.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::num::NonZeroUsize;

use assay_graph::{
    Canonical, Dim, Interpolation, Model, Normalization, Restride, Shaped, Stride, UnitPool, Value, check, preprocess,
    restride, stride_string, strided, upsample, vjp,
};
use assay_reference::{Array, Net, compare, probe, run};
use ndarray::{ArrayD, IxDyn};

const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();

/// A net for images of `size`, with the same weights whatever that is.
fn pooled(size: usize) -> Net {
    Net::new(&[3, size, size])
        .conv("x -> a", &[4, 3, 3, 3], &[("strides", vec![2, 2].into())])
        .norm("a -> an", 4)
        .node("Relu", "an -> ar", &[])
        .conv("ar -> b", &[4, 4, 3, 3], &[])
        .node("Add", "ar b -> sum", &[])
        .head("sum", 4)
}

fn normalized(net: &Net) -> Shaped {
    let normalization = Normalization { mean: vec![0.5, 0.25, -1.0], std: vec![0.5, 2.0, 0.25], axis: Some(1) };
    let model = Canonical::new(Model::new(Canonical::OPSET, net.graph.clone())).unwrap();
    let model = preprocess(&model, &normalization).unwrap();
    probe(Canonical::new(model).unwrap(), &[("x", net.x(2))])
}

/// Every position as a block of 2 by 2.
fn doubled(x: &Array) -> Array {
    let x = x.f64();
    let dims: Vec<usize> =
        x.shape().iter().enumerate().map(|(axis, size)| if axis < 2 { *size } else { 2 * size }).collect();
    let large = ArrayD::from_shape_fn(IxDyn(&dims), |at| x[[at[0], at[1], at[2] / 2, at[3] / 2]]);
    Array::floats(&dims, large.iter().copied().collect())
}

#[test]
fn the_image_is_enlarged_behind_its_normalisation() {
    let (small, large) = (normalized(&pooled(6)), normalized(&pooled(12)));
    let model = upsample(&small, TWO, Interpolation::Nearest).unwrap();
    check(&model).unwrap();
    let order: Vec<&str> = model.graph.nodes.iter().take(4).map(|node| node.operator.as_str()).collect();
    assert_eq!(order, ["Sub", "Div", "Resize", "Conv"]);
    let x = pooled(6).x(3);
    let logits = |model: &Model, x: &Array| run(model, &[("x", x.clone())]).unwrap()["z"].f64().clone();
    compare("upsampled", &logits(&model, &x), &logits(large.model(), &doubled(&x)), 1e-12);

    // The gradient of the image is the sum over the blocks of the gradient of the large one.
    let upsampled = probe(Canonical::new(model).unwrap(), &[("x", x.clone())]);
    let gradient = |source: &Shaped, x: &Array| {
        let derived = vjp(source, &["z".into()], &["x".into()]).unwrap();
        let w = Array::floats(&[3, 3], vec![1.0, -2.0, 0.5, 0.25, 1.0, 3.0, -1.0, 0.0, 2.0]);
        let inputs = [("x", x.clone()), (derived.cotangents[0].as_str(), w)];
        run(&derived.model, &inputs).unwrap()[&derived.products[0]].f64().clone()
    };
    let of_large = gradient(&large, &doubled(&x));
    let summed = ArrayD::from_shape_fn(IxDyn(&[3, 3, 6, 6]), |at| {
        [(0, 0), (0, 1), (1, 0), (1, 1)]
            .map(|(i, j)| of_large[[at[0], at[1], 2 * at[2] + i, 2 * at[3] + j]])
            .iter()
            .sum()
    });
    compare("gradient", &gradient(&upsampled, &x), &summed, 1e-12);
}

#[test]
fn without_a_normalisation_the_image_itself_is_enlarged() {
    let source = pooled(6).shaped();
    let model = upsample(&source, TWO, Interpolation::Linear).unwrap();
    assert_eq!(model.graph.nodes[0].operator, "Resize");
    let shaped = probe(Canonical::new(model).unwrap(), &[("x", pooled(6).x(2))]);
    assert_eq!(shaped.facts(&"upsample/Resize".into()).unwrap().dims[2..], [Dim::Fixed(12), Dim::Fixed(12)]);
    // Between two positions lies what is between them: a quarter and three.
    let x = Array::floats(&[1, 3, 6, 6], (0..108).map(|i| f64::from(i % 6)).collect());
    let large = run(shaped.model(), &[("x", x)]).unwrap()["upsample/Resize"].f64().clone();
    assert_eq!((large[[0, 0, 5, 0]], large[[0, 0, 5, 1]], large[[0, 0, 5, 2]]), (0.0, 0.25, 0.75));
}

/// Channels last in between, as ConvNeXt has them, and behind a normalisation channel by channel, as GoogLeNet has one.
#[test]
fn maps_are_followed_where_their_axes_move() {
    let turned = |perm: [i64; 4]| [("perm", perm.to_vec().into())];
    let net = Net::new(&[2, 4, 4])
        .floats("half", &[], &[0.5])
        .ints("zero", &[0])
        .node("Gather", "x zero -> first", &[("axis", 1.into())])
        .node("Mul", "first half -> scaled", &[])
        .node("Concat", "scaled x -> image", &[("axis", 1.into())])
        .conv("image -> a", &[4, 3, 3, 3], &[])
        .node("Transpose", "a -> last", &turned([0, 2, 3, 1]))
        .weight("scale", &[4])
        .node("LayerNormalization", "last scale -> normal", &[])
        .weight("up.w", &[4, 6])
        .node("MatMul", "normal up.w -> up", &[])
        .node("Tanh", "up -> t", &[])
        .node("Transpose", "t -> back", &turned([0, 3, 1, 2]))
        .ints("new", &[2])
        .node("Unsqueeze", "back new -> five", &[])
        .node("Squeeze", "five new -> four", &[])
        .ints("axes", &[-1, -2])
        .node("ReduceMean", "four axes -> mean", &[("keepdims", 0.into())])
        .dense("mean -> z", [3, 6]);
    let model = upsample(&net.shaped(), TWO, Interpolation::Nearest).unwrap();
    assert_eq!(map(model, &net, "a"), 8);
}

#[test]
fn a_head_of_a_fixed_size_is_refused_by_name() {
    let conv = || Net::new(&[2, 4, 4]).conv("x -> a", &[4, 2, 3, 3], &[("strides", vec![2, 2].into())]);
    let refused = |net: Net| upsample(&net.shaped(), TWO, Interpolation::Nearest).unwrap_err().to_string();
    insta::assert_snapshot!(refused(conv().node("Flatten", "a -> f", &[]).dense("f -> z", [3, 16])), @r#"upsample: node "the f" (Flatten): unsupported: it takes every position of the map [batch, 4, 2, 2] as a feature; the model needs a global average pool before its head"#);
    let window = conv().node("AveragePool", "a -> p", &[("kernel_shape", vec![2, 2].into())]);
    insta::assert_snapshot!(refused(window.node("Flatten", "p -> f", &[]).dense("f -> z", [3, 4])), @r#"upsample: node "the f" (Flatten): unsupported: it takes every position of the map [batch, 4, 1, 1] as a feature; the model needs a global average pool before its head"#);
    let offset = conv().weight("pixels", &[4, 2, 2]).node("Add", "a pixels -> s", &[]).head("s", 4);
    insta::assert_snapshot!(refused(offset), @r#"upsample: node "the s" (Add): unsupported: its input "pixels" keeps a size of 2 where the map changes; change what makes it in the same way"#);
    let vector = Net::new(&[4]).dense("x -> z", [3, 4]);
    insta::assert_snapshot!(refused(vector), @r#"upsample: unsupported: "x" has 2 dimensions; an image is [batch, channels, height, width]"#);
    let strides = [Restride { output: "a".into(), to: Stride::By(NonZeroUsize::MIN) }];
    let net = conv().node("Flatten", "a -> f", &[]).dense("f -> z", [3, 16]);
    insta::assert_snapshot!(restride(&net.shaped(), &strides).unwrap_err(), @r#"restride: node "the f" (Flatten): unsupported: it takes every position of the map [batch, 4, 2, 2] as a feature; the model needs a global average pool before its head"#);
}

/// Size of the map before the head.
fn map(model: Model, net: &Net, of: &str) -> usize {
    let shaped = probe(Canonical::new(model).unwrap(), &[("x", net.x(2))]);
    match shaped.facts(&of.into()).unwrap().dims[2..] {
        [Dim::Fixed(height), Dim::Fixed(width)] if height == width => height,
        ref other => panic!("{other:?}"),
    }
}

/// Map sizes before the pool are those of the papers' nets on images of 32 by 32, as given by their strides.
#[test]
fn the_stride_strings_of_the_papers_nets() {
    let two = [("strides", vec![2, 2].into())];
    let changed = |net: &Net, text: &str, pools, of: &str| {
        let source = net.shaped();
        let edits = stride_string(&source, text, pools).unwrap();
        map(restride(&source, &edits).unwrap(), net, of)
    };
    // Four stages, the first of which keeps its size; a shortcut shares the stride of its block.
    let mut resnet = Net::new(&[1, 32, 32]).conv("x -> s0", &[1, 1, 3, 3], &[]);
    for stage in 1..4 {
        let (x, y) = (format!("s{}", stage - 1), format!("s{stage}"));
        resnet = resnet
            .conv(&format!("{x} -> {y}.a"), &[1, 1, 3, 3], &two)
            .node("Relu", &format!("{y}.a -> {y}.r"), &[])
            .conv(&format!("{y}.r -> {y}.b"), &[1, 1, 3, 3], &[])
            .conv(&format!("{x} -> {y}.c"), &[1, 1, 1, 1], &two)
            .node("Add", &format!("{y}.b {y}.c -> {y}"), &[]);
    }
    let resnet = resnet.head("s3", 1);
    assert_eq!(strided(&resnet.shaped()).iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2]);
    assert_eq!(["1222", "1122", "122"].map(|s| changed(&resnet, s, UnitPool::Kept, "s3")), [4, 8, 8]);

    // VGG: a pool with a stride of 1 is left out.
    let pool =
        |kernel: i64, stride: i64| [("kernel_shape", vec![kernel; 2].into()), ("strides", vec![stride; 2].into())];
    let mut vgg = Net::new(&[1, 32, 32]).node("Relu", "x -> p0", &[]);
    for stage in 1..6 {
        let (x, y) = (format!("p{} -> c{stage}", stage - 1), format!("c{stage} -> p{stage}"));
        vgg = vgg.conv(&x, &[1, 1, 3, 3], &[]).node("MaxPool", &y, &pool(2, 2));
    }
    let vgg = vgg.head("p5", 1);
    assert_eq!(["22222", "11222"].map(|s| changed(&vgg, s, UnitPool::Removed, "p5")), [1, 4]);
    let edits = stride_string(&vgg.shaped(), "11222", UnitPool::Removed).unwrap();
    assert_eq!(edits[1], Restride { output: "p2".into(), to: Stride::Removed });

    // AlexNet: the first convolution has a stride, and its pools stay.
    let mut alexnet = Net::new(&[1, 32, 32]).conv("x -> p0", &[1, 1, 5, 5], &two);
    for stage in 1..4 {
        let (x, y) = (format!("p{} -> c{stage}", stage - 1), format!("c{stage} -> p{stage}"));
        alexnet = alexnet.conv(&x, &[1, 1, 3, 3], &[]).node("MaxPool", &y, &pool(2, 2));
    }
    let alexnet = alexnet.head("p3", 1);
    assert_eq!(["2222", "1122"].map(|s| changed(&alexnet, s, UnitPool::Kept, "p3")), [2, 7]);
}

#[test]
fn edits_that_make_no_sense_are_refused() {
    let net = pooled(6);
    let source = net.shaped();
    let refused = |output: &str, to| {
        let edit = Restride { output: Value::from(output), to };
        restride(&source, &[edit]).unwrap_err().to_string()
    };
    insta::assert_snapshot!(refused("ar", Stride::By(TWO)), @r#"restride: unsupported: "ar" is not the output of a convolution or a pool"#);
    insta::assert_snapshot!(refused("nothing", Stride::By(TWO)), @r#"restride: unsupported: "nothing" is not the output of a convolution or a pool"#);
    insta::assert_snapshot!(refused("a", Stride::Removed), @r#"restride: node "the a" (Conv): unsupported: a convolution cannot be left out; give it a stride"#);
    // The shortcut around it keeps its size.
    insta::assert_snapshot!(refused("b", Stride::By(TWO)), @r#"restride: node "the sum" (Add): unsupported: its input "ar" keeps a size of 3 where the map changes; change what makes it in the same way"#);
    let text = |text| stride_string(&source, text, UnitPool::Kept).unwrap_err().to_string();
    insta::assert_snapshot!(text("1222"), @r#"restride: unsupported: stride string "1222"; give a digit for each place where maps shrink: ["a"]"#);
    insta::assert_snapshot!(text("0"), @r#"restride: unsupported: stride string "0"; it has a digit from 1 for each stage"#);
    assert_eq!(restride(&source, &[]).unwrap(), *source.model());
}
