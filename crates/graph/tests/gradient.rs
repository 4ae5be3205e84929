//! The gradient of whole models: values that are read several times, shape arithmetic, several outputs, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use assay_graph::{
    Attribute, Canonical, DataType, Dim, Dimension, Facts, Graph, Kind, Loss, Model, Node, Shaped, Shapes, Tensor,
    Value, ValueInfo, gradient, vjp,
};
use assay_reference::{Array, Case, Random, Values, check_vjp, probe, run};

fn node(operator: &str, inputs: &[&str], output: &str) -> Node {
    let inputs = inputs.iter().map(|&i| Some(Value::from(i))).collect();
    let mut node = Node::new(operator, inputs, vec![Some(output.into())]);
    node.name = format!("the {operator}");
    node
}

fn with(mut node: Node, name: &str, value: impl Into<Attribute>) -> Node {
    node.attributes.insert(name.into(), value.into());
    node
}

/// A model from `x [batch, 3]` with weights `w [3, 3]`.
fn model(nodes: Vec<Node>, outputs: &[&str]) -> Model {
    let shape = vec![Dimension::Symbol("batch".into()), Dimension::Known(3)];
    let info = |name: &str| ValueInfo::new(name, DataType::Float, shape.clone());
    let w: Vec<f32> = Random::new(5).array(&[9], &Values::uniform(-1.0, 1.0)).f64().iter().map(|&v| v as f32).collect();
    let mut graph = Graph::default();
    graph.nodes = nodes;
    graph.inputs = vec![info("x")];
    graph.outputs = outputs.iter().map(|o| info(o)).collect();
    graph.initializers.insert("w".into(), Tensor::floats(&[3, 3], &w));
    graph.initializers.insert("row".into(), Tensor::floats(&[3], &w[..3]));
    graph.initializers.insert("zero".into(), Tensor::floats(&[], &[0.0]));
    Model::new(18, graph)
}

fn shaped(model: Model) -> Shaped {
    probe(Canonical::new(model).unwrap(), &[("x", Array::floats(&[1, 3], vec![0.3, -0.2, 0.1]))])
}

fn residual() -> Vec<Node> {
    vec![
        node("MatMul", &["x", "w"], "a"),
        node("Tanh", &["a"], "b"),
        node("MatMul", &["b", "w"], "c"),
        node("Sum", &["c", "x", "b"], "d"),
        node("Mul", &["d", "d"], "z"),
    ]
}

#[test]
fn a_value_that_is_read_several_times() {
    let case = Case::graph("residual", model(residual(), &["z"])).feed("x", &[3], Values::uniform(-1.0, 1.0));
    check_vjp(&case);
}

/// A convolution and the normalisation behind it, from `x [batch, 2, 5]`.
fn normalized() -> Model {
    let mut model = model(Vec::new(), &[]);
    let graph = &mut model.graph;
    let info = |name: &str, channels| {
        let dims = [Dimension::Symbol("batch".into()), Dimension::Known(channels), Dimension::Known(5)];
        ValueInfo::new(name, DataType::Float, dims.into())
    };
    graph.inputs = vec![info("x", 2)];
    graph.outputs = vec![info("z", 4)];
    let mut weights = |name: &str, dims: &[usize], values: &Values| {
        let numbers: Vec<f32> = Random::new(7).array(dims, values).f64().iter().map(|&v| v as f32).collect();
        graph.initializers.insert(name.into(), Tensor::floats(dims, &numbers));
    };
    weights("k", &[4, 2, 3], &Values::uniform(-1.0, 1.0));
    for name in ["scale", "shift", "mean"] {
        weights(name, &[4], &Values::uniform(-1.0, 1.0));
    }
    weights("variance", &[4], &Values::uniform(0.5, 2.0));
    graph.nodes = vec![
        with(node("Conv", &["x", "k"], "y"), "pads", vec![1, 1]),
        node("BatchNormalization", &["y", "scale", "shift", "mean", "variance"], "z"),
    ];
    model
}

#[test]
fn constant_factors_of_a_normalization_go_into_the_weights() {
    check_vjp(&Case::graph("normalized", normalized()).feed("x", &[2, 5], Values::uniform(-1.0, 1.0)));
    let source = probe(Canonical::new(normalized()).unwrap(), &[("x", Array::floats(&[1, 2, 5], vec![0.5; 10]))]);
    let derived = vjp(&source, &["z".into()], &["x".into()]).unwrap();
    let operators: Vec<&str> = derived.model.graph.nodes.iter().map(|n| n.operator.as_str()).collect();
    assert!(!operators.contains(&"Mul"), "{operators:?}");
}

#[test]
fn several_outputs_and_an_inner_value_as_input() {
    let source = shaped(model(residual(), &["z"]));
    let derived = vjp(&source, &["z".into(), "b".into()], &["a".into(), "w".into()]).unwrap();
    let x = Array::floats(&[2, 3], vec![0.3, -0.2, 0.1, 0.5, 0.7, -0.9]);
    let ones = Array::floats(&[2, 3], vec![1.0; 6]);
    let seeds: Vec<(&str, Array)> = derived.cotangents.iter().map(|c| (c.as_str(), ones.clone())).collect();
    let values = run(&derived.model, &[&[("x", x)], &seeds[..]].concat()).unwrap();
    assert_eq!(values[&derived.products[0]].dims(), [2, 3]);
    assert_eq!(values[&derived.products[1]].dims(), [3, 3]);

    // d(sum z + sum b) / da by differences: feed `a` through the part of the model behind it.
    let mut tail = source.model().clone();
    tail.graph.nodes.remove(0);
    let mut inner = tail.graph.inputs[0].clone();
    inner.value = "a".into();
    tail.graph.inputs.push(inner);
    let x = Array::floats(&[2, 3], vec![0.3, -0.2, 0.1, 0.5, 0.7, -0.9]);
    let a = values[&Value::from("a")].clone();
    let objective = |index: usize, step: f64| -> f64 {
        let mut moved = a.f64().iter().copied().collect::<Vec<_>>();
        moved[index] += step;
        let values = run(&tail, &[("x", x.clone()), ("a", Array::floats(&[2, 3], moved))]).unwrap();
        ["z", "b"].iter().map(|name| values[&Value::from(*name)].f64().sum()).sum()
    };
    for (index, found) in values[&derived.products[0]].f64().iter().enumerate() {
        let quotient = (objective(index, 1e-6) - objective(index, -1e-6)) / 2e-6;
        assert!((found - quotient).abs() < 1e-6, "{index}: {found} instead of {quotient}");
    }
}

#[test]
fn one_run_gives_logits_losses_and_the_gradient_of_their_sum() {
    let source = shaped(model(residual(), &["z"]));
    for loss in Loss::ALL.into_iter().filter(|l| l.min_classes() <= 3) {
        let derived = gradient(&source, loss).unwrap();
        let evaluate = |x: &[f64]| {
            let mut inputs = vec![("x", Array::floats(&[2, 3], x.to_vec())), ("labels", Array::ints(&[2], vec![2, 0]))];
            inputs.extend(derived.targets.iter().map(|targets| (targets.as_str(), Array::ints(&[2], vec![1, 2]))));
            run(&derived.model, &inputs).unwrap()
        };
        let x = [0.3, -0.2, 0.1, 0.5, 0.7, -0.9];
        let values = evaluate(&x);
        for (index, found) in values[&derived.gradient].f64().iter().enumerate() {
            let moved = |step: f64| {
                let mut x = x;
                x[index] += step;
                evaluate(&x)[&derived.loss].f64().sum()
            };
            let quotient = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            assert!((found - quotient).abs() < 1e-5 * quotient.abs().max(1.0), "{loss}: {found} instead of {quotient}");
        }
        let outputs: Vec<_> = derived.model.graph.outputs.iter().map(|o| o.value.clone()).collect();
        assert_eq!(outputs, [derived.logits, derived.loss, derived.gradient]);
    }
}

#[test]
fn what_the_outputs_do_not_need_is_left_out() {
    let mut nodes = residual();
    nodes.push(node("Erf", &["c"], "unused"));
    let derived = gradient(&shaped(model(nodes, &["z"])), Loss::Margin).unwrap();
    assert!(derived.model.graph.nodes.iter().all(|n| n.operator != "Erf"));
    // Cotangents of weights are nobody's input.
    let products = derived.model.graph.nodes.iter().filter(|n| n.operator == "MatMul").count();
    assert_eq!(products, 4);
}

#[test]
fn the_names_of_derived_nodes_tell_where_they_come_from() {
    let derived = gradient(&shaped(model(residual(), &["z"])), Loss::CrossEntropy).unwrap();
    let names: Vec<&str> = derived.model.graph.nodes.iter().map(|n| n.name.as_str()).collect();
    assert!(names.iter().any(|n| n.starts_with("gradient/the Tanh/Mul.")), "{names:?}");
    assert!(names.iter().any(|n| n.starts_with("cross-entropy/LogSoftmax.")), "{names:?}");
}

#[test]
fn the_same_model_gives_the_same_graph() {
    let source = shaped(model(residual(), &["z"]));
    assert_eq!(gradient(&source, Loss::Dlr).unwrap().model, gradient(&source, Loss::Dlr).unwrap().model);
}

#[test]
fn an_operator_without_a_rule_is_named() {
    let unpool = node("MaxUnpool", &["a", "places", "size"], "b");
    let mut model = model(vec![node("MatMul", &["x", "w"], "a"), unpool, node("Mul", &["b", "x"], "z")], &["z"]);
    model.graph.initializers.insert("places".into(), Tensor::ints(&[0, 1, 2]));
    model.graph.initializers.insert("size".into(), Tensor::ints(&[1, 3]));
    let error = gradient(&shaped(model), Loss::Margin).unwrap_err();
    assert_eq!((error.kind(), error.node(), error.operator()), (Kind::NoRule, "the MaxUnpool", "MaxUnpool"));
    assert!(error.to_string().starts_with("gradient: node \"the MaxUnpool\" (MaxUnpool): no rule"), "{error}");
}

#[test]
fn an_operator_without_a_rule_does_not_matter_beside_the_path() {
    let nodes = vec![node("Round", &["w"], "rounded"), node("MatMul", &["x", "rounded"], "z")];
    assert!(gradient(&shaped(model(nodes, &["z"])), Loss::Margin).is_ok());
}

fn cast(from: &str, to: &str, dtype: DataType) -> Node {
    with(node("Cast", &[from], to), "to", i64::from(dtype.number()))
}

#[test]
fn no_differentiable_path_is_an_error_and_not_zeros() {
    let nodes = vec![node("Shape", &["x"], "shape"), node("Expand", &["row", "shape"], "z")];
    let error = gradient(&shaped(model(nodes, &["z"])), Loss::CrossEntropy).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("no differentiable path leads from \"x\""), "{error}");
    assert!(error.to_string().contains("the output does not depend on its elements"), "{error}");
}

#[test]
fn a_path_that_only_chooses_is_an_error_that_names_where() {
    let greater = || [node("MatMul", &["x", "w"], "b"), node("Greater", &["b", "zero"], "positive")];
    let [product, compared] = greater();
    let chosen =
        vec![product, compared, node("Where", &["positive", "row", "zero"], "a"), node("MatMul", &["a", "w"], "z")];
    let [product, compared] = greater();
    let masked =
        vec![product, compared, cast("positive", "mask", DataType::Float), node("MatMul", &["mask", "w"], "z")];
    for nodes in [chosen, masked] {
        let error = gradient(&shaped(model(nodes, &["z"])), Loss::CrossEntropy).unwrap_err();
        assert_eq!((error.kind(), error.node(), error.operator()), (Kind::Unsupported, "the Greater", "Greater"));
        assert!(error.to_string().contains("its elements only decide what is chosen, at \"the Greater\""), "{error}");
    }
}

#[test]
fn a_side_path_that_only_chooses_is_a_mask() {
    let nodes = vec![
        node("Greater", &["x", "zero"], "positive"),
        node("Where", &["positive", "row", "zero"], "offset"),
        node("Add", &["offset", "x"], "sum"),
        node("MatMul", &["sum", "w"], "z"),
    ];
    assert!(gradient(&shaped(model(nodes, &["z"])), Loss::Margin).is_ok());
}

#[test]
fn a_branch_through_integers_is_refused_and_not_left_out() {
    let rounded = || [cast("x", "integers", DataType::Int64), cast("integers", "floats", DataType::Float)];
    let only = [&rounded()[..], &[node("MatMul", &["floats", "w"], "z")]].concat();
    let beside = [&rounded()[..], &[node("Add", &["floats", "x"], "sum"), node("MatMul", &["sum", "w"], "z")]].concat();
    for nodes in [only, beside] {
        let error = gradient(&shaped(model(nodes, &["z"])), Loss::CrossEntropy).unwrap_err();
        assert_eq!((error.kind(), error.node()), (Kind::Unsupported, "the Cast"));
        assert!(error.to_string().contains("\"integers\" holds integers computed from the input"), "{error}");
    }
}

#[test]
fn a_mask_from_a_comparison_is_piecewise_constant() {
    let nodes = vec![
        node("Greater", &["x", "zero"], "positive"),
        cast("positive", "mask", DataType::Float),
        node("Mul", &["x", "mask"], "relu"),
        node("MatMul", &["relu", "w"], "z"),
    ];
    assert!(gradient(&shaped(model(nodes, &["z"])), Loss::Margin).is_ok());
}

#[test]
fn shapes_do_not_depend_on_the_data() {
    let nodes = vec![
        node("Shape", &["x"], "shape"),
        with(node("Cast", &["shape"], "sizes"), "to", i64::from(DataType::Float.number())),
        with(node("ReduceMax", &["sizes"], "size"), "keepdims", 0),
        node("Div", &["x", "size"], "scaled"),
        node("MatMul", &["scaled", "w"], "z"),
    ];
    let derived = gradient(&shaped(model(nodes, &["z"])), Loss::Margin).unwrap();
    assert!(derived.model.graph.nodes.iter().all(|n| !n.name.starts_with("gradient/the ReduceMax")));
}

#[test]
fn a_branch_that_reads_the_input_is_refused_and_not_passed_over() {
    let branch = |operator: &str| {
        let mut graph = Graph::default();
        graph.nodes = vec![node(operator, &["x"], "chosen")];
        graph.outputs = vec![ValueInfo::untyped("chosen".into())];
        graph
    };
    let mut choice = node("If", &["positive"], "y");
    for (name, operator) in [("then_branch", "Neg"), ("else_branch", "Exp")] {
        choice.attributes.insert(name.into(), Attribute::Graph(Box::new(branch(operator))));
    }
    let total = with(node("ReduceSum", &["x"], "total"), "keepdims", 0);
    let nodes = vec![total, node("Greater", &["total", "zero"], "positive"), choice, node("Add", &["x", "y"], "z")];
    let (float, bool) = (DataType::Float, DataType::Bool);
    let facts = |dtype, dims: &[Dim]| Facts { dtype, dims: dims.to_vec(), constant: None };
    let sample = [Dim::Batch(1), Dim::Fixed(3)];
    let shapes = [
        ("x", float, &sample[..]),
        ("total", float, &[]),
        ("positive", bool, &[]),
        ("y", float, &sample),
        ("z", float, &sample),
    ];
    let shapes = Shapes(shapes.map(|(name, dtype, dims)| (Value::from(name), facts(dtype, dims))).into());
    let source = Shaped::new(Canonical::new(model(nodes, &["z"])).unwrap(), shapes).unwrap();
    let error = gradient(&source, Loss::CrossEntropy).unwrap_err();
    assert_eq!(error.kind(), Kind::NoRule);
    assert!(error.to_string().contains("\"the If\""), "{error}");
}
