//! What real files contain, hosted: each model computes what its file says, and says what was changed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use assay_graph::{Attribute, DataType, Dimension, Function, Graph, Loss, Model, Node, Tensor, Value, ValueInfo};
use assay_runtime::{Class, Classifier, ClassifierOptions, LoadError, OnnxClassifier, OnnxRuntime};
use ndarray::{Array2, array};

fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> Node {
    let values = |names: &[&str]| names.iter().map(|n| (!n.is_empty()).then(|| Value::from(*n))).collect();
    let mut node = Node::new(operator, values(inputs), values(outputs));
    node.name = format!("the {operator}");
    node
}

fn with(mut node: Node, name: &str, value: impl Into<Attribute>) -> Node {
    node.attributes.insert(name.into(), value.into());
    node
}

/// A model of `x: [batch, 3]` with the weights `w: [3, 2]` and the outputs `outputs`.
fn model(batch: Option<usize>, nodes: Vec<Node>, outputs: &[&str]) -> Model {
    let first = || batch.map_or(Dimension::Symbol("n".into()), Dimension::Known);
    let mut graph = Graph::default();
    graph.nodes = nodes;
    graph.inputs.push(ValueInfo::new("x", DataType::Float, vec![first(), Dimension::Known(3)]));
    let info = |name: &&str| ValueInfo::new(*name, DataType::Float, vec![first(), Dimension::Known(2)]);
    graph.outputs = outputs.iter().map(info).collect();
    graph.initializers.insert("w".into(), Tensor::floats(&[3, 2], &[1.0, -1.0, 0.5, 2.0, -3.0, 0.25]));
    Model::new(18, graph)
}

fn ints(model: &mut Model, name: &str, values: &[i64]) {
    model.graph.initializers.insert(name.into(), Tensor::ints(values));
}

fn load(runtime: &OnnxRuntime, model: &Model) -> Result<OnnxClassifier, LoadError> {
    OnnxClassifier::from_bytes(runtime, &model.to_bytes(), &ClassifierOptions::default())
}

fn samples() -> Array2<f32> {
    array![[0.0, 1.0, 0.5], [0.25, 0.75, 1.0], [1.0, 0.0, 0.125]]
}

/// `x w` of the samples.
fn product() -> Array2<f32> {
    samples().dot(&array![[1.0_f32, -1.0], [0.5, 2.0], [-3.0, 0.25]])
}

/// Hosted, it has these logits and, for the margin between two classes, the gradient of the matrix; and these adaptations.
#[track_caller]
fn linear(runtime: &OnnxRuntime, model: &Model, adaptations: &[&str]) {
    let hosted = load(runtime, model).unwrap_or_else(|error| panic!("{error}"));
    let near = |a: &Array2<f32>, b: &Array2<f32>| (a - b).iter().all(|d| d.abs() < 1e-5);
    assert!(near(&hosted.logits(samples().view()).unwrap(), &product()));
    let found = hosted.gradient(samples().view(), Loss::Margin, &[Class(0); 3], None).unwrap();
    assert!(near(&found.logits, &product()));
    assert!(
        near(&found.gradient, &Array2::from_shape_fn((3, 3), |(_, j)| [-2.0, 1.5, 3.25][j])),
        "{:?}",
        found.gradient
    );
    assert_eq!(found.loss.len(), 3);
    let said: Vec<String> = hosted.info().adaptations.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), adaptations.len(), "{said:?}");
    for (said, expected) in said.iter().zip(adaptations) {
        assert!(said.contains(expected), "\"{said}\" does not say \"{expected}\"");
    }
}

#[test]
fn a_fixed_batch_is_opened() {
    let Some(runtime) = support::runtime() else { return };
    for batch in [1, 2] {
        let nodes = vec![node("Reshape", &["x", "target"], &["h"]), node("MatMul", &["h", "w"], &["y"])];
        let mut model = model(Some(batch), nodes, &["y"]);
        ints(&mut model, "target", &[i64::try_from(batch).unwrap(), -1]);
        linear(&runtime, &model, &[&format!("fixed batch size {batch} opened")]);
    }
}

#[test]
fn a_batch_that_cannot_be_opened_is_kept_and_filled_up() {
    let Some(runtime) = support::runtime() else { return };
    let nodes = vec![
        node("Split", &["x", "each"], &["a", "b"]),
        node("Concat", &["a", "b"], &["h"]),
        node("MatMul", &["h", "w"], &["y"]),
    ];
    let mut split = model(Some(2), nodes, &["y"]);
    split.graph.nodes[1].attributes.insert("axis".into(), 0.into());
    ints(&mut split, "each", &[1, 1]);
    linear(
        &runtime,
        &split,
        &["fixed batch size 2 kept, smaller batches are filled up: open the batch: node \"the Split\""],
    );

    let nodes = vec![
        node("Squeeze", &["x", "first"], &["row"]),
        node("MatMul", &["row", "w"], &["z"]),
        node("Unsqueeze", &["z", "first"], &["y"]),
    ];
    let mut squeezed = model(Some(1), nodes, &["y"]);
    ints(&mut squeezed, "first", &[0]);
    linear(
        &runtime,
        &squeezed,
        &["fixed batch size 1 kept, smaller batches are filled up: open the batch: node \"the Squeeze\""],
    );
}

#[test]
fn a_final_softmax_is_cut_off() {
    let Some(runtime) = support::runtime() else { return };
    let product = || node("MatMul", &["x", "w"], &["z"]);
    for operator in ["Softmax", "LogSoftmax"] {
        let plain = model(None, vec![product(), node(operator, &["z"], &["y"])], &["y"]);
        linear(&runtime, &plain, &[&format!("final {operator} \"the {operator}\" cut off: the logits are its input")]);
        let nodes = vec![
            product(),
            node("Unsqueeze", &["z", "last"], &["column"]),
            with(node(operator, &["column"], &["p"]), "axis", 1),
            node("Identity", &["p"], &["q"]),
            with(node("Flatten", &["q"], &["y"]), "axis", 1),
        ];
        let mut behind = model(None, nodes, &["y"]);
        ints(&mut behind, "last", &[2]);
        linear(&runtime, &behind, &["cut off"]);
    }
}

/// A fully convolutional net: logits `[batch, 2, 1, 1]`, or `[batch, 1, 1, 2]` with channels last.
fn convolutional(batch: Option<usize>, last: &[Node], channels_last: bool) -> Model {
    let mut nodes = vec![node("Unsqueeze", &["x", "axes"], &["image"])];
    if channels_last {
        nodes.push(node("MatMul", &["image", "w"], &["z"]));
    } else {
        nodes.push(node("Conv", &["image", "kernel"], &["z"]));
    }
    nodes.extend_from_slice(last);
    let mut model = model(batch, nodes, &["y"]);
    ints(&mut model, "axes", if channels_last { &[1, 2] } else { &[2, 3] });
    let kernel = Tensor::floats(&[2, 3, 1, 1], &[1.0, 0.5, -3.0, -1.0, 2.0, 0.25]);
    model.graph.initializers.insert("kernel".into(), kernel);
    let tail = if channels_last { [1, 1, 2] } else { [2, 1, 1] }.map(Dimension::Known);
    for output in &mut model.graph.outputs {
        let first = batch.map_or(Dimension::Symbol("n".into()), Dimension::Known);
        output.shape = Some([first].into_iter().chain(tail.clone()).collect());
    }
    model
}

#[test]
fn logits_with_further_dimensions_are_flattened() {
    let Some(runtime) = support::runtime() else { return };
    let copy = [node("Identity", &["z"], &["y"])];
    let softmax = |axis: i64| [with(node("Softmax", &["z"], &["y"]), "axis", axis)];
    for batch in [None, Some(1), Some(2)] {
        let opened: &[&str] = if batch.is_some() { &["opened"] } else { &[] };
        let channels = "output \"y\" [batch, 2, 1, 1] flattened to [batch, 2]";
        let last = "output \"y\" [batch, 1, 1, 2] flattened to [batch, 2]";
        linear(&runtime, &convolutional(batch, &copy, false), &[opened, &[channels]].concat());
        linear(&runtime, &convolutional(batch, &softmax(1), false), &[opened, &["cut off", channels]].concat());
        linear(&runtime, &convolutional(batch, &softmax(-1), true), &[opened, &["cut off", last]].concat());
    }
    // Beside an output of the usual form, which another node makes of it, that one is meant.
    let mut both = convolutional(None, &[copy[0].clone(), with(node("Flatten", &["y"], &["flat"]), "axis", 1)], false);
    both.graph.outputs.push(ValueInfo::untyped("flat".into()));
    linear(&runtime, &both, &["output \"flat\" taken as logits; not computed: \"y\""]);
    let options = ClassifierOptions { logits: Some("y".into()), ..ClassifierOptions::default() };
    let named = OnnxClassifier::from_bytes(&runtime, &both.to_bytes(), &options).unwrap();
    assert!((named.logits(samples().view()).unwrap() - product()).iter().all(|d| d.abs() < 1e-5));
    // A map of logits is that of a segmentation, not of a classifier.
    let mut map = convolutional(None, &[node("Concat", &["z", "z"], &["y"])], false);
    map.graph.nodes[2].attributes.insert("axis".into(), 3.into());
    map.graph.outputs = vec![ValueInfo::untyped("y".into())];
    let error = load(&runtime, &map).unwrap_err().to_string();
    assert!(
        error.contains("or [batch, classes, 1, 1]; this model's outputs are: \"y\" Float [batch, 2, 1, 2]"),
        "{error}"
    );
}

#[test]
fn what_is_no_softmax_over_the_classes_stays() {
    let Some(runtime) = support::runtime() else { return };
    let product = || node("MatMul", &["x", "w"], &["z"]);
    let column = vec![
        product(),
        node("Unsqueeze", &["z", "last"], &["column"]),
        with(node("Softmax", &["column"], &["p"]), "axis", 2),
        with(node("Flatten", &["p"], &["y"]), "axis", 1),
    ];
    let mut column = model(None, column, &["y"]);
    ints(&mut column, "last", &[2]);
    let sigmoid = model(None, vec![product(), node("Sigmoid", &["z"], &["y"])], &["y"]);
    for (model, logit) in [(column, 1.0_f32), (sigmoid, 1.0 / (1.0 + 1.0_f32.exp()))] {
        let hosted = load(&runtime, &model).unwrap();
        assert_eq!(hosted.info().adaptations, []);
        let logits = hosted.logits(samples().view()).unwrap();
        assert!((logits[[0, 0]] - logit).abs() < 1e-5, "{logits}");
    }
}

#[test]
fn the_logits_are_chosen_by_name_among_several_outputs() {
    let Some(runtime) = support::runtime() else { return };
    let nodes = vec![node("MatMul", &["x", "w"], &["main"]), node("Neg", &["main"], &["auxiliary"])];
    let model = model(None, nodes, &["auxiliary", "main"]);
    let error = load(&runtime, &model).unwrap_err().to_string();
    for part in
        ["\"auxiliary\" Float [batch, 2], \"main\" Float [batch, 2]", "say which one gives the logits, by its name"]
    {
        assert!(error.contains(part), "{error}");
    }
    let named = |name: &str| {
        let options = ClassifierOptions { logits: Some(name.into()), ..ClassifierOptions::default() };
        OnnxClassifier::from_bytes(&runtime, &model.to_bytes(), &options)
    };
    let main = named("main").unwrap();
    assert_eq!(main.logits(samples().view()).unwrap(), product());
    let said = main.info().adaptations.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(said, ["output \"main\" taken as logits; not computed: \"auxiliary\""]);
    let error = named("other").unwrap_err().to_string();
    assert!(error.contains("no floating-point output \"other\" [batch, classes]"), "{error}");
}

#[test]
fn functions_and_conditions_on_shapes_leave_nothing_behind() {
    let Some(runtime) = support::runtime() else { return };
    let branch = |operator: &str| {
        let mut graph = Graph::default();
        graph.name = operator.into();
        graph.nodes.push(node(operator, &["h"], &["inner"]));
        graph.outputs.push(ValueInfo::new("inner", DataType::Float, vec![Dimension::Unknown, Dimension::Known(2)]));
        Attribute::Graph(Box::new(graph))
    };
    let mut function = Function::default();
    function.domain = "local".into();
    function.name = "scores".into();
    function.opsets = [(String::new(), 13)].into();
    function.body.inputs = ["a", "b"].map(|name| ValueInfo::untyped(name.into())).into();
    function.body.outputs = vec![ValueInfo::untyped("c".into())];
    function.body.nodes = vec![
        with(node("Unsqueeze", &["a", "axes"], &["d"]), "unused", 0),
        node("Squeeze", &["d", "axes"], &["e"]),
        node("MatMul", &["e", "b"], &["c"]),
    ];
    function.body.nodes[0].attributes.clear();
    function.body.nodes.insert(0, with(node("Constant", &[], &["axes"]), "value", Tensor::ints(&[1])));
    let mut call = node("scores", &["x", "w"], &["h"]);
    call.domain = "local".into();
    let nodes = vec![
        call,
        node("Shape", &["h"], &["shape"]),
        with(node("Gather", &["shape", "one"], &["classes"]), "axis", 0),
        node("Equal", &["classes", "two"], &["is two"]),
        with(with(node("If", &["is two"], &["y"]), "then_branch", branch("Identity")), "else_branch", branch("Relu")),
    ];
    let mut model = model(None, nodes, &["y"]);
    model.functions.push(function);
    model.opsets.insert("local".into(), 1);
    for (name, value) in [("one", 1), ("two", 2)] {
        model.graph.initializers.insert(name.into(), Tensor::ints(&[value]).reshaped(vec![]).unwrap());
    }
    linear(&runtime, &model, &["local functions inlined: scores", "replaced by the branch taken: the If"]);
}

/// `y = (x · tiny · large) w` in the type `dtype`: derivatives pass through numbers that have no f16.
fn steep(dtype: DataType) -> Model {
    let nodes = vec![
        node("MatMul", &["x", "w"], &["h"]),
        node("Mul", &["h", "large"], &["i"]),
        node("Mul", &["i", "tiny"], &["j"]),
        node("Mul", &["j", "tiny"], &["k"]),
        node("Mul", &["k", "large"], &["y"]),
    ];
    let mut model = model(None, nodes, &["y"]);
    model.graph.nodes.iter_mut().for_each(|node| node.name.clear());
    let large = [2.0_f64.powi(12), 2.0_f64.powi(-12)];
    for (name, value) in ["large", "tiny"].into_iter().zip(large) {
        model.graph.initializers.insert(name.into(), Tensor::scalar(dtype, value));
    }
    let weights = model.graph.initializers["w"].to_f64().unwrap();
    model.graph.initializers.insert("w".into(), Tensor::rounded(dtype, &[3, 2], &weights));
    for info in model.graph.inputs.iter_mut().chain(&mut model.graph.outputs) {
        info.dtype = Some(dtype);
    }
    model
}

#[test]
fn derivatives_of_short_types_are_computed_in_f32() {
    let Some(runtime) = support::runtime() else { return };
    let hosted = load(&runtime, &steep(DataType::Float16)).unwrap();
    let said: Vec<String> = hosted.info().adaptations.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["derivatives computed in f32, the forward pass in Float16"]);
    // A sure prediction: its gradient is of the order of 1e-9, which f16 does not have.
    let x = array![[0.0_f32, 0.0, 7.0]];
    let found = hosted.gradient(x.view(), Loss::CrossEntropy, &[Class(1)], None).unwrap();
    assert!(found.gradient.iter().all(|g| *g != 0.0 && g.abs() < 5e-8), "{:?}", found.gradient);
    let logits = hosted.logits(x.view()).unwrap();
    assert!((&logits - &found.logits).iter().all(|d| d.abs() < 0.1), "{logits} {}", found.logits);
}

#[test]
fn models_in_bf16_and_f64_are_hosted() {
    let Some(runtime) = support::runtime() else { return };
    let x = array![[0.5_f32, 1.0, 0.25]];
    for (dtype, precision) in [(DataType::BFloat16, 0.02), (DataType::Double, 1e-6)] {
        let hosted = load(&runtime, &steep(dtype)).unwrap_or_else(|error| panic!("{error}"));
        let found = hosted.gradient(x.view(), Loss::Margin, &[Class(0)], None).unwrap();
        let expected = x.dot(&array![[1.0_f32, -1.0], [0.5, 2.0], [-3.0, 0.25]]);
        for logits in [hosted.logits(x.view()).unwrap(), found.logits] {
            assert!((&logits - &expected).iter().all(|d| d.abs() < precision), "{dtype:?}: {logits}");
        }
        assert_eq!(found.gradient, array![[-2.0, 1.5, 3.25]]);
        assert_eq!(hosted.info().adaptations.is_empty(), dtype == DataType::Double, "{:?}", hosted.info().adaptations);
    }
}

/// A model of `x: [batch, 4, 6]` behind `nodes`, which give `h: [batch, 4, 6]` from it.
fn sequence(opset: i64, nodes: Vec<Node>, constants: Vec<(&str, Tensor)>) -> Model {
    let mut graph = Graph::default();
    let dims = vec![Dimension::Symbol("n".into()), Dimension::Known(4), Dimension::Known(6)];
    graph.inputs.push(ValueInfo::new("x", DataType::Float, dims));
    graph.nodes = nodes;
    graph.nodes.push(node("Flatten", &["h"], &["flat"]));
    graph.nodes.push(node("MatMul", &["flat", "w"], &["y"]));
    graph.outputs.push(ValueInfo::new("y", DataType::Float, vec![Dimension::Symbol("n".into()), Dimension::Known(3)]));
    let weight = |i: usize| ((i * 37 % 23) as f32 - 11.0) / 11.0;
    graph.initializers.insert("w".into(), Tensor::floats(&[24, 3], &(0..72).map(weight).collect::<Vec<_>>()));
    graph.initializers.extend(constants.into_iter().map(|(name, tensor)| (name.into(), tensor)));
    Model::new(opset, graph)
}

/// Hosted, each model computes what its file says, and its gradient is that of differences of its loss.
#[track_caller]
fn follow_differences(runtime: &OnnxRuntime, cases: &[(&str, Model)]) {
    let x = Array2::from_shape_fn((2, 24), |(i, j)| ((i * 24 + j) as f32 * 0.37).sin() * 0.5 + 0.5);
    for (name, model) in cases {
        let hosted = load(runtime, model).unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = hosted.gradient(x.view(), Loss::CrossEntropy, &[Class(0), Class(2)], None);
        let found = found.unwrap_or_else(|error| panic!("{name}: {error}"));
        let loss = |x: &Array2<f32>| -> f64 {
            let logits = hosted.logits(x.view()).unwrap().mapv(f64::from);
            let each = logits.rows().into_iter().zip([0, 2]);
            each.map(|(row, class)| row.iter().map(|z| z.exp()).sum::<f64>().ln() - row[class]).sum()
        };
        for j in [0, 7, 23, 30, 41] {
            let at = (j / 24, j % 24);
            let step = |by: f32| {
                let mut x = x.clone();
                x[at] += by;
                loss(&x)
            };
            let difference = (step(0.01) - step(-0.01)) / 0.02;
            let error = (difference - f64::from(found.gradient[at])).abs();
            assert!(error < 2e-3 * (1.0 + difference.abs()), "{name}: {difference} and {}", found.gradient[at]);
        }
    }
}

#[test]
fn composite_operators_are_written_out_and_have_gradients() {
    let Some(runtime) = support::runtime() else { return };
    let attention = |inputs: &[&str], attributes: &[(&str, Attribute)]| {
        let mut node = node("Attention", inputs, &["h"]);
        node.attributes.extend(attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        node
    };
    let heads = |q: i64, kv: i64| vec![("q_num_heads", Attribute::from(q)), ("kv_num_heads", Attribute::from(kv))];
    let ramp = |n: usize| (0..n).map(|i| (i as f32 * 0.7).sin() + 1.5).collect::<Vec<_>>();
    let allowed: Vec<u8> = (0..16).map(|i| u8::from(i % 3 != 1)).collect();
    let mask = Tensor::new(DataType::Bool, vec![4, 4], allowed.into()).unwrap();
    let narrow = |nodes: Vec<Node>| [vec![node("Slice", &["x", "from", "to", "axis"], &["kv"])], nodes].concat();
    let half = || vec![("from", Tensor::ints(&[0])), ("to", Tensor::ints(&[3])), ("axis", Tensor::ints(&[2]))];
    let group = |opset: i64, n: usize| {
        let normal = with(node("GroupNormalization", &["x", "scale", "bias"], &["h"]), "num_groups", 2);
        let constants = vec![("scale", Tensor::floats(&[n], &ramp(n))), ("bias", Tensor::floats(&[n], &ramp(n)))];
        sequence(opset, vec![normal], constants)
    };
    let four = vec![
        node("Reshape", &["x", "split"], &["apart"]),
        with(node("Transpose", &["apart"], &["q"]), "perm", vec![0, 2, 1, 3]),
        with(node("Attention", &["q", "q", "q"], &["mixed"]), "softcap", 2.0_f32),
        with(node("Transpose", &["mixed"], &["back"]), "perm", vec![0, 2, 1, 3]),
        node("Reshape", &["back", "together"], &["h"]),
    ];
    let mut four =
        sequence(23, four, vec![("split", Tensor::ints(&[0, 4, 2, 3])), ("together", Tensor::ints(&[0, 4, 6]))]);
    four.graph.nodes.iter_mut().for_each(|node| node.name.clear());
    let cases = [
        ("groups of channels", group(21, 4)),
        (
            "root mean square",
            sequence(
                23,
                vec![node("RMSNormalization", &["x", "g"], &["h"])],
                vec![("g", Tensor::floats(&[6], &ramp(6)))],
            ),
        ),
        ("swish", sequence(24, vec![with(node("Swish", &["x"], &["h"]), "alpha", 1.5_f32)], vec![])),
        ("gelu", sequence(20, vec![node("Gelu", &["x"], &["h"])], vec![])),
        ("attention", sequence(23, vec![attention(&["x", "x", "x"], &heads(2, 2))], vec![])),
        ("attention, newer", sequence(25, vec![attention(&["x", "x", "x"], &heads(3, 3))], vec![])),
        (
            "causal",
            sequence(
                23,
                vec![attention(&["x", "x", "x"], &[heads(2, 2), vec![("is_causal", 1.into())]].concat())],
                vec![],
            ),
        ),
        (
            "masked",
            sequence(
                23,
                vec![attention(&["x", "x", "x", "m"], &[heads(2, 2), vec![("scale", 0.25_f32.into())]].concat())],
                vec![("m", mask)],
            ),
        ),
        ("shared heads", sequence(23, narrow(vec![attention(&["x", "kv", "kv"], &heads(2, 1))]), half())),
        ("four dimensions", four),
    ];
    follow_differences(&runtime, &cases);
}

#[test]
fn operators_of_later_sets_are_written_out_and_have_gradients() {
    let Some(runtime) = support::runtime() else { return };
    // Heads of 3 · 2 numbers, of which all or 4 of 6 are turned.
    let rotary = |attributes: &[(&str, i64)], angles: usize| {
        let mut turn = node("RotaryEmbedding", &["x", "cos", "sin", "places"], &["h"]);
        turn.attributes.extend(attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())));
        let nodes = vec![
            with(node("Shape", &["x"], &["lead"]), "end", 2),
            node("Expand", &["order", "lead"], &["places"]),
            turn,
        ];
        let order = Tensor::ints(&[4, 1, 0, 2]).reshaped(vec![1, 4]).unwrap();
        let angle = |f: fn(f32) -> f32| (0..5 * angles).map(|i| f(i as f32)).collect::<Vec<_>>();
        let table = |f: fn(f32) -> f32| Tensor::floats(&[5, angles], &angle(f));
        sequence(23, nodes, vec![("order", order), ("cos", table(f32::cos)), ("sin", table(f32::sin))])
    };
    let apart = |mut model: Model| {
        // The same with four dimensions.
        let nodes = &mut model.graph.nodes;
        nodes[2].inputs[0] = Some("q".into());
        nodes[2].outputs[0] = Some("turned".into());
        nodes.insert(3, with(node("Transpose", &["turned"], &["back"]), "perm", vec![0, 2, 1, 3]));
        nodes.insert(4, node("Reshape", &["back", "together"], &["h"]));
        nodes.insert(0, node("Reshape", &["x", "split"], &["parts"]));
        nodes.insert(1, with(node("Transpose", &["parts"], &["q"]), "perm", vec![0, 2, 1, 3]));
        nodes.iter_mut().for_each(|node| node.name.clear());
        ints(&mut model, "split", &[0, 4, 3, 2]);
        ints(&mut model, "together", &[0, 4, 6]);
        model
    };
    let transformer = |align_corners: i64, sizes: &[i64]| {
        // A spatial transformer that turns and moves a picture of 4 by 6 by what the picture itself holds.
        let nodes = vec![
            node("Unsqueeze", &["x", "channel"], &["image"]),
            node("Flatten", &["x"], &["all"]),
            node("MatMul", &["all", "localisation"], &["small"]),
            node("Add", &["small", "identity"], &["six"]),
            node("Reshape", &["six", "theta"], &["matrix"]),
            node("Shape", &["x"], &["shape"]),
            node("Slice", &["shape", "none", "channel"], &["batch"]),
            with(node("Concat", &["batch", "size"], &["whole"]), "axis", 0),
            with(node("AffineGrid", &["matrix", "whole"], &["grid"]), "align_corners", align_corners),
            with(node("GridSample", &["image", "grid"], &["sampled"]), "align_corners", align_corners),
            node("Reshape", &["sampled", "flat4"], &["h"]),
        ];
        let weights: Vec<f32> = (0..144).map(|i| ((i * 53 % 29) as f32 - 14.0) / 200.0).collect();
        let constants = vec![
            ("channel", Tensor::ints(&[1])),
            ("none", Tensor::ints(&[0])),
            ("localisation", Tensor::floats(&[24, 6], &weights)),
            ("identity", Tensor::floats(&[6], &[0.9, 0.1, 0.05, -0.2, 1.1, 0.02])),
            ("theta", Tensor::ints(&[-1, 2, 3])),
            ("size", Tensor::ints(&[&[1], sizes].concat())),
            ("flat4", Tensor::ints(&[0, -1])),
        ];
        let mut model = sequence(20, nodes, constants);
        model.graph.nodes.iter_mut().for_each(|node| node.name.clear());
        model
    };
    let blocked = || {
        let q =
            Tensor::new(DataType::Int8, vec![6, 2], (0..12u8).map(|i| i.wrapping_mul(37)).collect::<Vec<_>>().into());
        let nodes = vec![
            with(with(node("DequantizeLinear", &["q", "s"], &["weights"]), "block_size", 2), "axis", 0),
            node("MatMul", &["x", "weights"], &["pair"]),
            with(node("Concat", &["pair", "pair", "pair"], &["h"]), "axis", 2),
        ];
        let scales = Tensor::floats(&[3, 2], &[0.01, 0.02, 0.015, 0.005, 0.01, 0.03]);
        let mut model = sequence(21, nodes, vec![("q", q.unwrap()), ("s", scales)]);
        model.graph.nodes.iter_mut().for_each(|node| node.name.clear());
        model
    };
    let cases = [
        ("rotary, halves", rotary(&[("num_heads", 3)], 1)),
        ("rotary, one head", rotary(&[("num_heads", 1)], 3)),
        ("rotary, neighbours", rotary(&[("num_heads", 1), ("interleaved", 1)], 3)),
        ("rotary, a part", rotary(&[("num_heads", 1), ("rotary_embedding_dim", 4)], 2)),
        (
            "rotary, a part of neighbours",
            rotary(&[("num_heads", 1), ("rotary_embedding_dim", 4), ("interleaved", 1)], 2),
        ),
        ("rotary, four dimensions", apart(rotary(&[], 1))),
        ("spatial transformer", transformer(0, &[4, 6])),
        ("spatial transformer by corners", transformer(1, &[6, 4])),
        ("weights in blocks", blocked()),
    ];
    follow_differences(&runtime, &cases);
}

#[test]
fn the_digest_is_that_of_all_files_of_the_model() {
    let Some(runtime) = support::runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.onnx");
    let (content, apart) = model(None, vec![node("MatMul", &["x", "w"], &["y"])], &["y"]).to_bytes_apart(1);
    std::fs::write(&file, &content).unwrap();
    let mut weights = apart[0].1.bytes().to_vec();
    let digest = |weights: &[u8]| {
        // Where the file says that its content is.
        std::fs::write(folder.path().join("apart"), weights).unwrap();
        OnnxClassifier::load(&runtime, &file, &ClassifierOptions::default()).unwrap().spec().digest.clone()
    };
    let first = digest(&weights);
    assert_eq!(digest(&weights), first);
    weights.push(0);
    assert_ne!(digest(&weights), first, "what no tensor reads is of the file too");
    weights.pop();
    *weights.last_mut().unwrap() ^= 1;
    assert_ne!(digest(&weights), first, "one byte of the other file");
}
