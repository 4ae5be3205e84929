//! Shapes from two probe runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use assay_graph::{
    Canonical, DataType, Dim, Dimension, Graph, Model, Node, Probe, Probed, ShapeError, Shaped, Shapes, Tensor, Value,
    ValueInfo,
};

fn probed(dims: &[usize]) -> Probed {
    Probed { dtype: DataType::Float, dims: dims.to_vec(), content: None }
}

fn run(batch: usize, values: &[(&str, Probed)]) -> Probe {
    Probe { batch, values: values.iter().map(|(name, probed)| (Value::from(*name), probed.clone())).collect() }
}

fn infer(first: &[usize], second: &[usize]) -> Result<Vec<Dim>, ShapeError> {
    let shapes = Shapes::infer(&run(2, &[("v", probed(first))]), &run(3, &[("v", probed(second))]))?;
    Ok(shapes.0["v"].dims.clone())
}

#[test]
fn sizes_are_constant_or_multiples_of_the_batch() {
    assert_eq!(
        infer(&[2, 5, 8, 0], &[3, 5, 12, 0]).unwrap(),
        [Dim::Batch(1), Dim::Fixed(5), Dim::Batch(4), Dim::Fixed(0)]
    );
    assert_eq!(infer(&[], &[]).unwrap(), []);
    for (first, second) in [(&[3][..], &[4][..]), (&[2], &[2, 1]), (&[2], &[4]), (&[4], &[3]), (&[0], &[3])] {
        let error = infer(first, second).unwrap_err();
        assert!(matches!(&error, ShapeError::Dims { value, .. } if value.as_str() == "v"), "{error}");
    }
    let error = infer(&[3], &[4]).unwrap_err().to_string();
    assert!(error.contains("\"v\" has shape [3] for a batch of 2 and [4] for a batch of 3"), "{error}");
}

#[test]
fn runs_must_be_comparable() {
    let one = run(2, &[("v", probed(&[2]))]);
    assert_eq!(Shapes::infer(&one, &one), Err(ShapeError::SameBatch { batch: 2 }));
    let missing = Err(ShapeError::Missing { value: "v".into() });
    assert_eq!(Shapes::infer(&one, &run(3, &[])), missing);
    assert_eq!(Shapes::infer(&run(3, &[]), &one), missing);
    let double = Probed { dtype: DataType::Double, ..probed(&[3]) };
    assert!(matches!(Shapes::infer(&one, &run(3, &[("v", double)])), Err(ShapeError::Type { .. })));
}

fn node(operator: &str, inputs: &[&str], output: &str) -> Node {
    Node::new(operator, inputs.iter().map(|n| Some(Value::from(*n))).collect(), vec![Some(output.into())])
}

/// `y = x + w`, and beside it what exporters compute about shapes.
fn model() -> Canonical {
    let mut graph = Graph::default();
    graph.inputs.push(ValueInfo::new("x", DataType::Float, vec![Dimension::Unknown, Dimension::Known(4)]));
    graph.initializers.insert("w".into(), Tensor::floats(&[1], &[0.5]));
    graph.nodes = vec![
        node("Identity", &["w"], "w again"),
        node("Add", &["x", "w again"], "y"),
        node("Shape", &["y"], "shape"),
        node("Size", &["w"], "size"),
        node("Greater", &["y", "w"], "mask"),
        node("ReduceMax", &["x"], "maximum"),
        node("Greater", &["maximum", "w"], "any"),
    ];
    graph.outputs = ["y", "shape", "size", "mask", "any"].map(|name| ValueInfo::untyped(name.into())).into();
    Canonical::new(Model::new(18, graph)).unwrap()
}

fn with_content(tensor: Tensor) -> Probed {
    Probed { dtype: tensor.dtype(), dims: tensor.dims().to_vec(), content: Some(tensor) }
}

fn runs() -> [Vec<(&'static str, Probed)>; 2] {
    [2, 3].map(|n| {
        let mask = Tensor::new(DataType::Bool, vec![n, 4], vec![1; 4 * n].into()).unwrap();
        let any = Tensor::new(DataType::Bool, vec![1, 1], vec![1].into()).unwrap();
        let size = Tensor::ints(&[1]).reshaped(vec![]).unwrap();
        vec![
            ("x", probed(&[n, 4])),
            ("w again", probed(&[1])),
            ("y", probed(&[n, 4])),
            ("shape", with_content(Tensor::ints(&[i64::try_from(n).unwrap(), 4]))),
            ("size", with_content(size)),
            ("mask", with_content(mask)),
            ("maximum", probed(&[1, 1])),
            ("any", with_content(any)),
        ]
    })
}

fn shaped() -> Result<Shaped, ShapeError> {
    let [first, second] = runs();
    Shaped::new(model(), Shapes::infer(&run(2, &first), &run(3, &second)).unwrap())
}

#[test]
fn only_what_cannot_depend_on_the_input_is_constant() {
    let shaped = shaped().unwrap();
    let constant = |name: &str| shaped.constant(&name.into()).cloned();
    assert_eq!(constant("w"), Some(Tensor::floats(&[1], &[0.5])));
    assert_eq!(constant("w again"), constant("w"), "a copy of a constant is one");
    assert_eq!(constant("size").and_then(|t| t.to_i64()), Some(vec![1]));
    assert_eq!(constant("shape"), None, "it differs between the runs");
    assert_eq!(constant("mask"), None);
    assert_eq!(constant("any"), None, "it was equal in both runs by chance");
    assert_eq!(shaped.facts(&"w".into()).unwrap().dims, [Dim::Fixed(1)]);
}

#[test]
fn input_and_logits_are_found() {
    let shaped = shaped().unwrap();
    assert_eq!(shaped.input().unwrap().as_str(), "x");
    assert_eq!(shaped.logits().unwrap().as_str(), "y");
}

#[test]
fn every_value_must_have_been_seen() {
    let [first, second] = runs().map(|run| run.into_iter().filter(|(name, _)| *name != "maximum").collect::<Vec<_>>());
    let shapes = Shapes::infer(&run(2, &first), &run(3, &second)).unwrap();
    assert_eq!(Shaped::new(model(), shapes).unwrap_err(), ShapeError::Missing { value: "maximum".into() });
}

#[test]
fn a_model_that_is_no_classifier_says_what_it_has() {
    let mut graph = Graph::default();
    let dims = || vec![Dimension::Unknown, Dimension::Known(4)];
    graph.inputs = ["a", "b"].map(|name| ValueInfo::new(name, DataType::Float, dims())).into();
    graph.nodes = vec![node("Relu", &["a"], "c"), node("Relu", &["b"], "d")];
    graph.outputs = ["c", "d"].map(|name| ValueInfo::untyped(name.into())).into();
    let canonical = Canonical::new(Model::new(18, graph)).unwrap();
    let [first, second] = [2, 3].map(|n| run(n, &["a", "b", "c", "d"].map(|name| (name, probed(&[n, 4])))));
    let shaped = Shaped::new(canonical, Shapes::infer(&first, &second).unwrap()).unwrap();
    let input = shaped.input().unwrap_err().to_string();
    assert!(input.ends_with("inputs are: \"a\" Float [batch, 4], \"b\" Float [batch, 4]"), "{input}");
    let logits = shaped.logits().unwrap_err().to_string();
    assert!(logits.contains("one floating-point output [batch, classes]"), "{logits}");
}
