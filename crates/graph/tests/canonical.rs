//! Canonical form: the same function, in one form.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use assay_graph::{Attribute, Canonical, DataType, Dimension, Graph, Model, Node, Tensor, Value, ValueInfo};
use assay_reference::{Array, Case, Random, Values, compare, run};

const ANY: Values = Values::Uniform { low: -2.0, high: 2.0 };
const POSITIVE: Values = Values::Uniform { low: 0.1, high: 2.0 };

fn image(operator: &str, opset: i64) -> Case {
    Case::op(operator).opset(opset).batched(&[3, 4, 5], ANY)
}

fn strings(text: &str) -> Attribute {
    Attribute::from(text)
}

fn norm(opset: i64) -> Case {
    let case = image("BatchNormalization", opset).weights(&[3], &ANY).weights(&[3], &ANY);
    case.weights(&[3], &ANY).weights(&[3], &POSITIVE).set("epsilon", 1e-3).set("momentum", 0.9)
}

fn upsample(opset: i64, mode: &str, scales: &[f64]) -> Case {
    let operator = if opset < 10 { "Upsample" } else { "Resize" };
    let scales = Array::floats(&[4], scales.to_vec());
    Case::op(operator).opset(opset).batched(&[3, 4, 6], ANY).constant(scales).set("mode", strings(mode))
}

/// One node in an old or a new form each, with every rewrite in at least one of them.
fn cases() -> Vec<Case> {
    let mut cases = vec![
        image("Clip", 7).set("min", -0.5).set("max", 0.75),
        image("Clip", 10).set("max", 0.75),
        image("Clip", 7),
        image("Pad", 7).set("pads", vec![0, 0, 1, 2, 0, 0, 0, 1]).set("value", 1.5),
        image("Pad", 10).set("pads", vec![0, 0, 1, 2, 0, 0, 0, 1]).set("mode", strings("reflect")),
        image("Pad", 21).ints(&[0, 0, 1, 2, 0, 0, 0, 1]).set("mode", strings("edge")),
        image("Slice", 7).set("starts", vec![1, 0]).set("ends", vec![3, -1]).set("axes", vec![1, 2]),
        image("Slice", 9).set("starts", vec![0, 1]).set("ends", vec![100, 3]),
        Case::op("Squeeze").opset(11).batched(&[1, 4, 1], ANY).set("axes", vec![1, 3]),
        image("Unsqueeze", 7).set("axes", vec![1, 5]),
        image("ReduceSum", 11).set("axes", vec![-1]).set("keepdims", 0),
        image("ReduceSum", 7).set("axes", vec![1, 2, 3]),
        image("TopK", 10).outputs(2).ints(&[3]).set("axis", 1),
        image("Split", 7).outputs(3).set("axis", 1),
        image("Split", 17).outputs(2).set("axis", 2),
        image("Split", 12).outputs(2).set("axis", 3).set("split", vec![2, 3]),
        Case::op("Upsample")
            .opset(7)
            .batched(&[3, 4, 6], ANY)
            .set("scales", Attribute::Floats(vec![1.0, 1.0, 2.0, 3.0])),
        upsample(9, "nearest", &[1.0, 1.0, 2.0, 2.5]),
        upsample(9, "linear", &[1.0, 1.0, 2.0, 1.5]),
        upsample(10, "nearest", &[1.0, 1.0, 3.0, 0.5]),
        upsample(10, "linear", &[1.0, 1.0, 0.5, 1.5]),
        norm(7).set("spatial", 1),
        norm(9),
        norm(14).set("training_mode", 0),
        image("Dropout", 7).set("ratio", 0.3),
        image("Dropout", 12).scalar(0.3).constant(Array::bools(&[], vec![false])),
        image("Dropout", 13).outputs(2),
        // In f64, because the constants are rounded to the element type.
        image("Gelu", 20).double(),
        image("Gelu", 23).set("approximate", strings("tanh")).double(),
        image("AveragePool", 19).set("kernel_shape", vec![2, 2]).set("dilations", vec![1, 1]),
        image("Cast", 19).set("to", 11).set("saturate", 1),
        image("CastLike", 15).scalar(1.0),
        image("CastLike", 19).ints(&[0]).set("saturate", 1),
        image("Flatten", 9).set("axis", 2),
        Case::op("Gemm").opset(9).batched(&[4], ANY).weights(&[5, 4], &ANY).weights(&[5], &ANY).set("transB", 1),
    ];
    for operator in ["Softmax", "LogSoftmax"] {
        cases.push(image(operator, 7));
        cases.push(image(operator, 12).set("axis", -2));
        cases.push(image(operator, 12).set("axis", 3));
        cases.push(image(operator, 13));
        cases.push(image(operator, 13).set("axis", 1));
        cases.push(Case::op(operator).opset(11).batched(&[7], ANY));
    }
    for operator in ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare"] {
        let input = Case::op(&format!("Reduce{operator}")).opset(17).batched(&[3, 2], POSITIVE);
        cases.push(input.clone().set("axes", vec![1]));
        cases.push(input.set("axes", vec![-1, 1]).set("keepdims", 0));
    }
    cases
}

#[test]
fn canonical_form_computes_the_same() {
    for case in cases() {
        let model = case.model();
        let canonical = Canonical::new(model.clone()).unwrap_or_else(|error| panic!("{}: {error}", case.name()));
        let inputs = case.inputs(2);
        let before = run(&model, &inputs).unwrap_or_else(|error| panic!("{}: {error}", case.name()));
        let after = run(canonical.model(), &inputs).unwrap_or_else(|error| panic!("{}: {error}", case.name()));
        for output in &model.graph.outputs {
            let (before, after) = (&before[&output.value], &after[&output.value]);
            match before.dtype.is_float() {
                true => compare(case.name(), after.f64(), before.f64(), 1e-12),
                false => assert_eq!(after, before, "{}", case.name()),
            }
        }
    }
}

#[test]
fn canonical_form_is_canonical() {
    for case in cases() {
        let once = Canonical::new(case.model()).unwrap();
        assert_eq!(once.model().opsets[""], Canonical::OPSET);
        assert_eq!(Canonical::new(once.model().clone()).unwrap().model(), once.model(), "{}", case.name());
    }
}

/// A net of the operators whose form changed, as version `opset` writes it. Nodes have no names, and a parameter that is an
/// input is called after its node, as the one that was an attribute will be.
fn net(opset: i64) -> Model {
    let mut graph = Graph::default();
    let dims = [Dimension::Symbol("n".into()), Dimension::Known(3), Dimension::Known(4), Dimension::Known(4)];
    graph.inputs.push(ValueInfo::new("x", DataType::Float, dims.into()));
    for name in ["scale", "shift", "mean", "variance"] {
        graph.initializers.insert(name.into(), Tensor::floats(&[3], &[1.0, 2.0, 3.0]));
    }
    graph.initializers.insert("w".into(), Tensor::floats(&[3, 2], &[0.5; 6]));
    graph.initializers.insert("b".into(), Tensor::floats(&[2], &[1.0, 2.0]));
    let mut node = |operator: &str, inputs: &[&str], output: &str| {
        let inputs = inputs.iter().map(|name| (!name.is_empty()).then(|| Value::from(*name))).collect();
        graph.nodes.push(Node::new(operator, inputs, vec![Some(output.into())]));
    };
    node("BatchNormalization", &["x", "scale", "shift", "mean", "variance"], "normal");
    node("Dropout", &["normal"], "dropped");
    node("Clip", &["dropped"], "clipped");
    node("Pad", &["clipped"], "padded");
    node(if opset < 10 { "Upsample" } else { "Resize" }, &["padded"], "large");
    node("Slice", &["large"], "sliced");
    node("Unsqueeze", &["sliced"], "unsqueezed");
    node("ReduceMean", &["unsqueezed"], "means");
    node("ReduceSum", &["means"], "sums");
    node("Squeeze", &["sums"], "squeezed");
    node("Flatten", &["squeezed"], "flat");
    node("Gemm", &["flat", "w", "b"], "scores");
    node("Softmax", &["scores"], "y");
    let Graph { nodes, initializers, .. } = &mut graph;
    let mut parameter = |node: usize, name: &str, since: i64, position: usize, value: Tensor, attribute: Attribute| {
        if opset < since {
            nodes[node].attributes.insert(name.into(), attribute);
            return;
        }
        let input = Value::new(format!("{}/{name}", nodes[node].label()));
        nodes[node].inputs.resize(position, None);
        nodes[node].inputs.push(Some(input.clone()));
        initializers.insert(input, value);
    };
    let ints = |values: &[i64]| (Tensor::ints(values), Attribute::from(values.to_vec()));
    for (node, name, since, position, values) in [
        (3, "pads", 11, 1, &[0, 0, 1, 1, 0, 0, 1, 1][..]),
        (5, "starts", 10, 1, &[1, 2]),
        (5, "ends", 10, 2, &[9, 10]),
        (5, "axes", 10, 3, &[2, 3]),
        (6, "axes", 13, 1, &[4]),
        (7, "axes", 18, 1, &[2, 4]),
        (8, "axes", 13, 1, &[3]),
        (9, "axes", 13, 1, &[2, 4]),
    ] {
        let (tensor, attribute) = ints(values);
        parameter(node, name, since, position, tensor, attribute);
    }
    parameter(2, "min", 11, 1, Tensor::floats(&[], &[-0.5]), (-0.5_f32).into());
    parameter(2, "max", 11, 2, Tensor::floats(&[], &[2.5]), 2.5_f32.into());
    let scales = [1.0, 1.0, 2.0, 2.0];
    let position = if opset < 11 { 1 } else { 2 };
    parameter(4, "scales", 9, position, Tensor::floats(&[4], &scales), Attribute::Floats(scales.into()));
    if opset < 9 {
        nodes[0].attributes.insert("spatial".into(), 1.into());
    }
    if opset < 12 {
        nodes[1].attributes.insert("ratio".into(), 0.5.into());
    }
    if opset >= 11 {
        nodes[4].attributes.insert("coordinate_transformation_mode".into(), strings("asymmetric"));
        nodes[4].attributes.insert("nearest_mode".into(), strings("floor"));
    }
    graph.outputs.push(ValueInfo::untyped("y".into()));
    Model::new(opset, graph)
}

#[test]
fn every_operator_set_gives_the_same_model_and_so_the_same_gradient() {
    let canonical = |opset: i64| {
        let mut model = Canonical::new(net(opset)).unwrap().model().clone();
        // Later files are of later versions of the format.
        model.ir_version = 0;
        model
    };
    let x = Random::new(3).array(&[2, 3, 4, 4], &ANY);
    let first = canonical(7);
    assert_eq!(run(&first, &[("x", x)]).unwrap()["y"].dims(), [2, 2], "{first}");
    for opset in 8..=26 {
        assert_eq!(canonical(opset), first, "operator set {opset}");
    }
}

#[test]
fn rewrites() {
    let text: Vec<String> = cases()
        .iter()
        .map(|case| {
            let model = case.model();
            let canonical = Canonical::new(model.clone()).unwrap();
            format!("# {}\n{model}-----\n{}", case.name(), canonical.model())
        })
        .collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn reference_models_keep_their_logits() {
    let Some(material) = assay_reference::material() else { return };
    for name in material.names("gradients", "onnx") {
        let model = material.model(&format!("gradients/{name}.onnx"));
        let [input] = model.graph.inputs.as_slice() else { panic!("{name}") };
        let x = Random::new(1).array(&[2, 3, 12, 12], &ANY);
        let logits = &model.graph.outputs[0].value;
        let before = run(&model, &[(input.value.as_str(), x.clone())]).unwrap();
        let canonical = Canonical::new(model.clone()).unwrap();
        let after = run(canonical.model(), &[(input.value.as_str(), x)]).unwrap();
        compare(&name, after[logits].f64(), before[logits].f64(), 1e-12);
    }
}

/// A node that nothing interprets.
fn node(operator: &str, opset: i64, inputs: usize) -> Case {
    let mut graph = Graph::default();
    let names: Vec<Value> = (0..inputs).map(|i| Value::new(format!("x{i}"))).collect();
    let dims = || vec![Dimension::Symbol("n".into()), Dimension::Known(4)];
    graph.inputs = names.iter().map(|v| ValueInfo::new(v.clone(), DataType::Float, dims())).collect();
    graph.nodes.push(Node::new(operator, names.into_iter().map(Some).collect(), vec![Some("y".into())]));
    graph.outputs.push(ValueInfo::untyped("y".into()));
    Case::graph(operator, Model::new(opset, graph))
}

/// A refused node and what the message must say.
#[track_caller]
fn refused(case: &Case, message: &str) {
    refused_model(case.model(), message);
}

#[track_caller]
fn refused_model(mut model: Model, message: &str) {
    model.graph.nodes[0].name = "culprit".into();
    let error = Canonical::new(model).unwrap_err().to_string();
    assert!(error.contains(message) && error.contains("culprit"), "\"{error}\" does not say \"{message}\"");
}

/// `model` with another output of its node, read by the graph.
fn with_second_output(mut model: Model) -> Model {
    model.graph.nodes[0].outputs.push(Some("second".into()));
    model.graph.outputs.push(ValueInfo::untyped("second".into()));
    model
}

#[test]
fn what_has_no_canonical_form_is_refused_by_name() {
    refused(&node("BatchNormalization", 7, 5).set("spatial", 0), "spatial = 0");
    refused(&node("BatchNormalization", 14, 5).set("training_mode", 1), "training mode");
    refused_model(with_second_output(node("BatchNormalization", 9, 5).model()), "training mode");
    refused_model(with_second_output(node("Dropout", 9, 1).model()), "its mask is read");
    refused(&node("Dropout", 12, 3), "training mode");
    refused(&node("Resize", 10, 2), "constant scales of at least 1");
    refused(&node("AveragePool", 19, 1).set("dilations", vec![2, 2]), "dilations");
    refused(&node("DFT", 20, 2), "how it takes its axis; export the model with operator set 18");
    refused(&node("CumProd", 26, 2), "operators that came with set 26");
    refused(&node("GridSample", 20, 2), "a volume");
    refused(&node("GroupNormalization", 21, 3), "\"num_groups\" must be a positive number");
    refused(&node("RMSNormalization", 23, 2).set("stash_type", 11), "\"stash_type\" other than 1");
    refused(&node("Attention", 23, 6), "past keys and values");
    refused(&node("Attention", 25, 3).set("left_window_size", 2), "\"left_window_size\"");
    refused_model(with_second_output(node("Attention", 23, 3).model()), "output \"second\" beside the first");
    refused(&node("RoiAlign", 15, 3), "pixel coordinates");
    refused(&node("HardSwish", 13, 1), "version 13 of the standard operator set has no such operator");
    refused(&node("Invented", 17, 1), "no such operator");
    refused(&node("QuantizeLinear", 21, 2).set("block_size", 2), "\"block_size\"");
    refused(&node("DequantizeLinear", 21, 2).set("block_size", 2), "\"block_size\"");
    refused(&node("Pad", 19, 2).set("mode", "wrap"), "mode wrap with computed pads");
}

#[test]
fn operator_sets_outside_7_to_26_are_refused() {
    for opset in [6, 27] {
        let error = Canonical::new(node("Relu", opset, 1).model()).unwrap_err().to_string();
        assert!(error.contains(&format!("version {opset}")) && error.contains("versions 7 to 26"), "{error}");
    }
    let mut model = node("Relu", 17, 1).model();
    model.opsets.clear();
    assert!(Canonical::new(model).is_err());
}

#[test]
fn the_k_of_top_k_becomes_an_input() {
    let canonical = Canonical::new(node("TopK", 9, 1).set("k", 2).model()).unwrap();
    let graph = &canonical.model().graph;
    assert_eq!(graph.nodes[0].to_string(), "y = TopK(x0, y/k)");
    assert_eq!(graph.initializers["y/k"], Tensor::ints(&[2]));
}

#[test]
fn other_domains_are_not_touched() {
    let mut model = node("Clip", 7, 1).set("min", 0.5).model();
    model.graph.nodes[0].domain = "com.example".into();
    let canonical = Canonical::new(model.clone()).unwrap();
    assert_eq!(canonical.model().graph.nodes, model.graph.nodes);
}

#[test]
fn constants_become_initializers() {
    let forms: [(&str, Attribute, Tensor); 5] = [
        ("value", Tensor::floats(&[2], &[1.0, 2.0]).into(), Tensor::floats(&[2], &[1.0, 2.0])),
        ("value_float", 1.5.into(), Tensor::floats(&[], &[1.5])),
        ("value_floats", Attribute::Floats(vec![1.5]), Tensor::floats(&[1], &[1.5])),
        ("value_int", 3.into(), Tensor::ints(&[3]).reshaped(vec![]).unwrap()),
        ("value_strings", Attribute::Strings(vec!["a".into()]), Tensor::text(vec![1], vec!["a".into()]).unwrap()),
    ];
    for (name, attribute, tensor) in forms {
        let mut graph = Graph::default();
        let mut node = Node::new("Constant", vec![], vec![Some("c".into())]);
        node.attributes.insert(name.into(), attribute);
        graph.nodes.push(node);
        graph.outputs.push(ValueInfo::untyped("c".into()));
        let canonical = Canonical::new(Model::new(13, graph)).unwrap();
        assert_eq!(canonical.model().graph.initializers["c"], tensor, "{name}");
        assert!(canonical.model().graph.nodes.is_empty());
    }
}

#[test]
fn subgraphs_are_rewritten_too() {
    let branch = |bound: f32| {
        let mut graph = Graph::default();
        let mut clip = Node::new("Clip", vec![Some("x".into())], vec![Some("inner".into())]);
        clip.attributes.insert("max".into(), bound.into());
        graph.nodes.push(clip);
        graph.outputs.push(ValueInfo::untyped("inner".into()));
        Attribute::Graph(Box::new(graph))
    };
    let mut graph = Graph::default();
    graph.inputs.push(ValueInfo::new("x", DataType::Double, vec![Dimension::Unknown, Dimension::Known(2)]));
    graph.inputs.push(ValueInfo::new("c", DataType::Bool, vec![]));
    let mut choice = Node::new("If", vec![Some("c".into())], vec![Some("y".into())]);
    choice.attributes.insert("then_branch".into(), branch(1.0));
    choice.attributes.insert("else_branch".into(), branch(2.0));
    graph.nodes.push(choice);
    graph.outputs.push(ValueInfo::untyped("y".into()));
    let canonical = Canonical::new(Model::new(10, graph)).unwrap();
    insta::assert_snapshot!(canonical.model());
}

#[test]
fn a_named_batch_is_renamed_everywhere() {
    let mut model = node("Relu", 17, 1).model();
    let shape = vec![Dimension::Symbol("n".into()), Dimension::Symbol("other".into())];
    model.graph.outputs[0] = ValueInfo::new("y", DataType::Float, shape);
    let canonical = Canonical::new(model).unwrap();
    assert_eq!(canonical.model().graph.inputs[0].to_string(), "x0: Float[batch, 4]");
    assert_eq!(canonical.model().graph.outputs[0].to_string(), "y: Float[batch, other]");
}

#[test]
fn the_probe_shows_every_value_once() {
    let mut model = node("Relu", 17, 1).model();
    model.graph.nodes.push(Node::new("Neg", vec![Some("y".into())], vec![Some("z".into())]));
    model.graph.nodes.push(Node::new("Exp", vec![Some("z".into())], vec![Some("e".into())]));
    model.graph.outputs.push(ValueInfo::untyped("e".into()));
    let canonical = Canonical::new(model).unwrap();
    let probe = canonical.probe();
    let mut names: Vec<&str> = probe.graph.outputs.iter().map(|o| o.value.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["e", "y", "z"]);
}

#[test]
fn a_batch_norm_of_constants_may_be_in_training_mode() {
    let standardized = |input: &str| {
        let mut graph = Graph::default();
        graph.inputs.push(ValueInfo::new("x", DataType::Float, vec![Dimension::Unknown, Dimension::Known(2)]));
        graph.outputs.push(ValueInfo::untyped("y".into()));
        graph.initializers.insert("w".into(), Tensor::floats(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 9.0]));
        graph.initializers.insert("p".into(), Tensor::floats(&[2], &[1.0, 0.5]));
        let mut node = |operator: &str, inputs: &[&str], output: &str| {
            let inputs = inputs.iter().map(|&name| Some(Value::from(name))).collect();
            graph.nodes.push(Node::new(operator, inputs, vec![Some(output.into())]));
        };
        node("Neg", &[input], "negated");
        node("BatchNormalization", &["negated", "p", "p", "p", "p"], "normal");
        node("Add", &["x", "normal"], "y");
        graph.nodes[1].attributes.insert("training_mode".into(), 1.into());
        Model::new(17, graph)
    };
    let canonical = Canonical::new(standardized("w")).unwrap();
    let norm = canonical.model().graph.nodes.iter().find(|n| n.operator == "BatchNormalization").unwrap();
    assert_eq!(norm.attributes.get("training_mode"), Some(&1.into()));
    assert_eq!(norm.outputs.len(), 3, "ONNX Runtime wants all of them in this mode");
    let error = Canonical::new(standardized("x")).unwrap_err().to_string();
    assert!(error.contains("training mode"), "{error}");
}
