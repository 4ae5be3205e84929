//! Derived graphs in f32 on ONNX Runtime, where rounding and the range of f32 matter: extreme logits, and masks of tiny
//! outputs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use assay_graph::{Canonical, DataType, Dimension, Graph, Loss, Model, Node, Value, ValueInfo, gradient, vjp};
use assay_reference::{probe, run};
use assay_runtime::{Array, Engine, EngineOptions, Tensors};
use ndarray::{ArrayD, IxDyn};

/// A model of one operator from `x [batch, columns]` to `z`.
fn one_operator(operator: &str, columns: usize) -> Model {
    let shape = vec![Dimension::Symbol("batch".into()), Dimension::Known(columns)];
    let mut graph = Graph::default();
    graph.inputs = vec![ValueInfo::new("x", DataType::Float, shape.clone())];
    graph.outputs = vec![ValueInfo::new("z", DataType::Float, shape)];
    graph.nodes = vec![Node::new(operator, vec![Some("x".into())], vec![Some("z".into())])];
    Model::new(18, graph)
}

fn shaped(operator: &str, columns: usize) -> assay_graph::Shaped {
    let x = assay_reference::Array::floats(&[1, columns], vec![1.0; columns]);
    probe(Canonical::new(one_operator(operator, columns)).unwrap(), &[("x", x)])
}

fn floats(dims: &[usize], values: &[f32]) -> Array {
    Array::Float(ArrayD::from_shape_vec(IxDyn(dims), values.to_vec()).unwrap())
}

fn found<'a>(tensors: &'a Tensors, name: &str) -> &'a ArrayD<f32> {
    match &tensors[name] {
        Array::Float(array) => array,
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn losses_of_extreme_logits_are_finite_and_right() {
    let Some(runtime) = support::runtime() else { return };
    let rows: [[f32; 4]; 6] = [
        [1e4, -1e4, 0.0, 5.0],
        [-1e4, 1e4, 1e4, 1e4],
        [1e4, 1e4, 1e4, 1e4],
        [0.0, 0.0, 0.0, -1e4],
        [0.0, 0.0, 0.0, 0.0],
        [40.0, 0.0, -40.0, 1.0],
    ];
    let (labels, targets) = (vec![0i64, 0, 1, 3, 2, 0], vec![1i64, 2, 0, 0, 3, 2]);
    for loss in Loss::ALL {
        let derived = gradient(&shaped("Sum", 4), loss).unwrap();
        let engine = Engine::start(&runtime, &derived.model.to_bytes(), &EngineOptions::default()).unwrap();
        let ints = |values: &[i64]| Array::Int(ArrayD::from_shape_vec(IxDyn(&[6]), values.to_vec()).unwrap());
        let mut inputs = Tensors::new();
        inputs.insert("x".to_owned(), floats(&[6, 4], &rows.concat()));
        inputs.insert(derived.labels.to_string(), ints(&labels));
        let x = assay_reference::Array::floats(&[6, 4], rows.concat().iter().map(|&v| f64::from(v)).collect());
        let mut exact = vec![("x", x), (derived.labels.as_str(), assay_reference::Array::ints(&[6], labels.clone()))];
        if let Some(name) = &derived.targets {
            inputs.insert(name.to_string(), ints(&targets));
            exact.push((name.as_str(), assay_reference::Array::ints(&[6], targets.clone())));
        }
        let outputs = engine.run(inputs).unwrap();
        let expected = run(&derived.model, &exact).unwrap();
        let pairs = |value: &Value| -> Vec<(f64, f64)> {
            let found = found(&outputs, value.as_str()).iter().map(|&v| f64::from(v));
            found.zip(expected[value].f64().iter().copied()).collect()
        };
        for (found, expected) in pairs(&derived.loss) {
            assert!(
                (found - expected).abs() <= 1e-6 * expected.abs().max(1.0),
                "{loss}: {found} instead of {expected}"
            );
        }
        for sample in pairs(&derived.gradient).chunks(4) {
            // Relative to the sample's largest derivative, however small that is.
            let largest = sample.iter().map(|(_, expected)| expected.abs()).fold(0.0, f64::max);
            let near = sample.iter().all(|(found, expected)| (found - expected).abs() <= 1e-6 * largest);
            assert!(near, "{loss}: found and expected derivatives {sample:?}");
        }
    }
}

#[test]
fn the_mask_of_a_relu_is_0_or_1_for_all_normal_numbers() {
    let Some(runtime) = support::runtime() else { return };
    let x = [f32::MIN_POSITIVE, 1e-30, 1e-3, 1.0, 1e30, f32::MAX, 0.0, -0.0, -f32::MIN_POSITIVE, -1.0, f32::MIN];
    let derived = vjp(&shaped("Relu", x.len()), &["z".into()], &["x".into()]).unwrap();
    let engine = Engine::start(&runtime, &derived.model.to_bytes(), &EngineOptions::default()).unwrap();
    let mut inputs = Tensors::new();
    inputs.insert("x".to_owned(), floats(&[1, x.len()], &x));
    inputs.insert(derived.cotangents[0].to_string(), floats(&[1, x.len()], &[3.0; 11]));
    let outputs = engine.run(inputs).unwrap();
    let masked: Vec<f32> = found(&outputs, derived.products[0].as_str()).iter().copied().collect();
    assert_eq!(masked, [3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
}
