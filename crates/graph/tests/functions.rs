//! Local functions and constant branches: what they leave behind computes the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use assay_graph::{
    Adaptation, Attribute, Canonical, CanonicalError, DataType, Dimension, Function, Graph, Limits, Model, Node,
    Tensor, Value, ValueInfo,
};
use assay_reference::{Array, run};

fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> Node {
    let values = |names: &[&str]| names.iter().map(|n| (!n.is_empty()).then(|| Value::from(*n))).collect();
    let mut node = Node::new(operator, values(inputs), values(outputs));
    node.name = format!("the {operator}");
    node
}

fn call(function: &str, inputs: &[&str], outputs: &[&str]) -> Node {
    in_domain("local", node(function, inputs, outputs))
}

fn in_domain(domain: &str, mut node: Node) -> Node {
    node.domain = domain.into();
    node
}

fn graph(nodes: Vec<Node>, outputs: &[&str]) -> Graph {
    let mut graph = Graph::default();
    graph.nodes = nodes;
    graph.outputs = named(outputs);
    graph
}

fn with(mut node: Node, name: &str, value: impl Into<Attribute>) -> Node {
    node.attributes.insert(name.into(), value.into());
    node
}

fn reference(name: &str, kind: i32) -> Attribute {
    Attribute::Reference { name: name.into(), kind }
}

fn named(names: &[&str]) -> Vec<ValueInfo> {
    names.iter().map(|name| ValueInfo::untyped(Value::from(*name))).collect()
}

fn function(name: &str, opset: i64, inputs: &[&str], outputs: &[&str], nodes: Vec<Node>) -> Function {
    let mut function = Function::default();
    function.domain = "local".into();
    function.name = name.into();
    function.opsets = [(String::new(), opset), ("local".into(), 1)].into();
    function.body = graph(nodes, outputs);
    function.body.inputs = named(inputs);
    function
}

/// A model of `x: [n, 4]` with outputs `outputs`.
fn model(nodes: Vec<Node>, outputs: &[&str], functions: Vec<Function>) -> Model {
    let x = ValueInfo::new("x", DataType::Float, vec![Dimension::Symbol("n".into()), Dimension::Known(4)]);
    let mut graph = graph(nodes, outputs);
    graph.inputs.push(x);
    graph.initializers.insert("w".into(), Tensor::floats(&[4], &[1.0, -2.0, 0.5, 3.0]));
    let mut model = Model::new(18, graph);
    model.functions = functions;
    model.opsets.insert("local".into(), 1);
    model
}

/// Canonical form of `model` as read from its own bytes.
fn canonical(model: &Model) -> Result<Canonical, CanonicalError> {
    let read = Model::from_bytes(model.to_bytes(), &Limits::default()).unwrap();
    assert_eq!(&read, model, "a file with functions survives a round trip");
    Canonical::new(read)
}

/// Both models give the same for the same `x`.
#[track_caller]
fn same(model: &Model, plain: Vec<Node>) {
    let names: Vec<&str> = model.graph.outputs.iter().map(|o| o.value.as_str()).collect();
    let plain = self::model(plain, &names, Vec::new());
    let x = [("x", Array::floats(&[2, 4], vec![1.0, -0.5, 2.0, 0.25, -3.0, 1.5, 0.0, -1.0]))];
    let inlined = canonical(model).unwrap();
    let (found, expected) = (run(inlined.model(), &x).unwrap(), run(&plain, &x).unwrap());
    for name in names {
        assert_eq!(found[name], expected[name], "{}", inlined.model());
    }
}

#[track_caller]
fn refused(model: &Model, message: &str) {
    let error = canonical(model).unwrap_err().to_string();
    assert!(error.contains(message), "\"{error}\" does not say \"{message}\"");
}

#[test]
fn a_function_is_written_out_at_every_call() {
    let scale = function(
        "scale",
        18,
        &["a", "b"],
        &["c"],
        // The inner names are those of the graph around: they must not meet.
        vec![node("Mul", &["a", "b"], &["x"]), node("Neg", &["x"], &["c"])],
    );
    let calls = vec![call("scale", &["x", "w"], &["h"]), call("scale", &["h", "x"], &["y"])];
    let model = model(calls, &["y"], vec![scale]);
    let plain = [("Mul", ["x", "w"], "p"), ("Neg", ["p", ""], "h"), ("Mul", ["h", "x"], "q"), ("Neg", ["q", ""], "y")];
    same(&model, plain.iter().map(|(op, i, o)| node(op, &i[..if *op == "Neg" { 1 } else { 2 }], &[o])).collect());
    let canonical = canonical(&model).unwrap();
    assert_eq!(canonical.adaptations(), [Adaptation::FunctionsInlined { functions: vec!["scale".into()] }]);
    assert_eq!(canonical.adaptations()[0].to_string(), "local functions inlined: scale");
    assert_eq!(canonical.model().opsets.keys().collect::<Vec<_>>(), [""], "the functions' domain is no longer used");
}

#[test]
fn attributes_come_from_the_call_or_the_default_or_stay_away() {
    let mut leaky = function(
        "leaky",
        18,
        &["a"],
        &["b"],
        vec![
            with(node("LeakyRelu", &["a"], &["t"]), "alpha", reference("slope", 1)),
            with(node("Elu", &["t"], &["b"]), "alpha", reference("strength", 1)),
        ],
    );
    leaky.attributes = vec!["strength".into()];
    leaky.defaults.insert("slope".into(), 0.25_f32.into());
    let outer = function(
        "outer",
        18,
        &["a"],
        &["b"],
        vec![with(call("leaky", &["a"], &["b"]), "slope", reference("slope", 1))],
    );
    let calls = vec![
        call("leaky", &["x"], &["p"]),
        with(call("leaky", &["x"], &["q"]), "strength", 0.5_f32),
        with(call("outer", &["x"], &["r"]), "slope", 0.75_f32),
    ];
    let model = model(calls, &["p", "q", "r"], vec![leaky, outer]);
    let pair = |slope: f32, strength: f32, y: &str| {
        let t = format!("{y} inner");
        let first = with(node("LeakyRelu", &["x"], &[&t]), "alpha", slope);
        [first, with(node("Elu", &[&t], &[y]), "alpha", strength)]
    };
    same(&model, [pair(0.25, 1.0, "p"), pair(0.25, 0.5, "q"), pair(0.75, 1.0, "r")].concat());
}

#[test]
fn absent_inputs_and_outputs_stay_absent() {
    let clip = function(
        "limit",
        18,
        &["a", "low", "high"],
        &["b", "unused"],
        vec![node("Clip", &["a", "low", "high"], &["b"]), node("Neg", &["b"], &["unused"])],
    );
    let mut model = model(vec![call("limit", &["x", "", "top"], &["y"])], &["y"], vec![clip]);
    model.graph.initializers.insert("top".into(), Tensor::floats(&[], &[1.0]));
    let found = run(canonical(&model).unwrap().model(), &[("x", Array::floats(&[1, 4], vec![-9.0, 0.5, 1.0, 2.0]))]);
    assert_eq!(found.unwrap()["y"], Array::floats(&[1, 4], vec![-9.0, 0.5, 1.0, 1.0]));
}

#[test]
fn inputs_that_are_outputs_and_outputs_given_twice_are_copied() {
    let pass = function("pass", 18, &["a"], &["a", "b", "b"], vec![node("Neg", &["a"], &["b"])]);
    let model = model(vec![call("pass", &["x"], &["p", "q", "r"])], &["p", "q", "r"], vec![pass]);
    same(&model, vec![node("Identity", &["x"], &["p"]), node("Neg", &["x"], &["q"]), node("Neg", &["x"], &["r"])]);
}

#[test]
fn each_node_is_read_in_the_version_of_its_own_function() {
    // Before version 13 the axes of a sum are an attribute, and Softmax takes all dimensions from its axis on.
    let old = function(
        "old",
        11,
        &["a"],
        &["b"],
        vec![
            with(node("Unsqueeze", &["a"], &["t"]), "axes", vec![2]),
            with(node("Softmax", &["t"], &["u"]), "axis", 1),
            with(with(node("ReduceSum", &["u"], &["b"]), "axes", vec![2]), "keepdims", 0),
        ],
    );
    let model = model(vec![call("old", &["x"], &["y"])], &["y"], vec![old]);
    same(&model, vec![with(node("Softmax", &["x"], &["y"]), "axis", 1)]);
}

#[test]
fn subgraphs_of_a_function_read_its_values() {
    let branch = |operator: &str| {
        let inner = with(node(operator, &["t"], &["inner"]), "alpha", reference("slope", 1));
        Attribute::Graph(Box::new(graph(vec![inner], &["inner"])))
    };
    let choose = |name: &str, yes: u8| {
        let condition = Tensor::new(DataType::Bool, vec![], vec![yes].into()).unwrap();
        let mut choice = with(node("If", &["c"], &["b"]), "then_branch", branch("LeakyRelu"));
        choice = with(choice, "else_branch", branch("Elu"));
        let constant = with(node("Constant", &[], &["c"]), "value", condition);
        function(name, 18, &["a"], &["b"], vec![node("Neg", &["a"], &["t"]), constant, choice])
    };
    let calls = ["p", "q"].map(|y| with(call(if y == "p" { "yes" } else { "no" }, &["x"], &[y]), "slope", 0.5_f32));
    let model = model(calls.into(), &["p", "q"], vec![choose("yes", 1), choose("no", 0)]);
    let plain = |operator: &str, y: &str| {
        let t = format!("{y} inner");
        [node("Neg", &["x"], &[&t]), with(node(operator, &[&t], &[y]), "alpha", 0.5_f32)]
    };
    same(&model, [plain("LeakyRelu", "p"), plain("Elu", "q")].concat());
    let taken = canonical(&model).unwrap().adaptations().last().map(ToString::to_string).unwrap();
    assert!(taken.starts_with("If nodes with a constant condition replaced by the branch taken: "), "{taken}");
}

#[test]
fn what_cannot_be_written_out_is_refused_by_name() {
    let neg = || vec![node("Neg", &["a"], &["b"])];
    let one = |nodes, f: Function| model(nodes, &["y"], vec![f]);
    let y = |name: &str| vec![call(name, &["x"], &["y"])];

    let recursive = function("again", 18, &["a"], &["b"], vec![call("again", &["a"], &["b"])]);
    refused(&one(y("again"), recursive), "call each other more than 64 deep");
    let doubling: Vec<Function> = (0..20)
        .map(|i| {
            let inner = format!("f{}", i + 1);
            let nodes = if i == 19 { neg() } else { vec![call(&inner, &["a"], &["t"]), call(&inner, &["t"], &["b"])] };
            function(&format!("f{i}"), 18, &["a"], &["b"], nodes)
        })
        .collect();
    refused(&model(y("f0"), &["y"], doubling), "more than 100000 nodes");

    let free = function("free", 18, &["a"], &["b"], vec![node("Add", &["a", "w"], &["b"])]);
    refused(&one(y("free"), free), "function \"free\" reads \"w\", which nothing in it gives");
    refused(
        &one(vec![call("neg", &["x", "w"], &["y"])], function("neg", 18, &["a"], &["b"], neg())),
        "which has 1 and 1",
    );
    refused(&one(y("old"), function("old", 6, &["a"], &["b"], neg())), "version 6 of the standard operator set");

    let mut unversioned = function("neg", 18, &["a"], &["b"], neg());
    unversioned.opsets.shift_remove("");
    refused(&one(y("neg"), unversioned), "does not say which version of the standard domain");

    let custom = in_domain("com.example", node("Neg", &["a"], &["b"]));
    let mut other = function("custom", 18, &["a"], &["b"], vec![custom]);
    other.opsets.insert("com.example".into(), 2);
    let mut conflict = one(y("custom"), other);
    let inlined = canonical(&conflict).unwrap();
    assert_eq!(inlined.model().opsets["com.example"], 2, "the model takes over what its functions import");
    conflict.opsets.insert("com.example".into(), 1);
    refused(&conflict, "version 2 of com.example, and other parts of the model in version 1");
}
