//! One training step on ONNX Runtime in f32, against the step that PyTorch made of the same network in f64:
//! `training/make.py` wrote `training/net.onnx` and `training/net.npz`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod support;

use std::path::Path;

use assay_graph::{BatchNorm, Canonical, Limits, Loss, Model, Value, Wrt, training};
use assay_reference::{Npz, probe, relative_error};
use assay_runtime::{Array, Engine, EngineOptions, Tensors};
use ndarray::ArrayD;

/// Relative Euclidean error that f32 is allowed.
const TOLERANCE: f64 = 1e-5;

/// Largest element of a gradient that is 0 but for rounding, as that of a bias before a batch normalisation.
const ZERO: f64 = 1e-5;

#[test]
#[allow(clippy::cast_possible_truncation)]
fn loss_gradients_and_statistics_are_those_of_pytorch() {
    let Some(runtime) = support::runtime() else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/training");
    let model = Model::load(&folder.join("net.onnx"), &Limits::default()).unwrap();
    let data = Npz::read(&folder.join("net.npz"));
    let x = data.get("input");
    let example = assay_reference::Array::floats(x.dims(), x.f64().iter().copied().collect());
    let source = probe(Canonical::new(model).unwrap(), &[("x", example)]);
    let names: Vec<Value> = data.names().filter_map(|n| n.strip_prefix("weight/")).map(Value::new).collect();
    let wrt = Wrt { weights: Some(names), input: true };
    let step = training(&source, &Loss::CrossEntropy, &wrt, BatchNorm::OfBatch).unwrap();

    let engine = Engine::start(&runtime, &step.model.to_bytes(), &EngineOptions::default()).unwrap();
    let narrow = |name: &str| Array::Float(data.get(name).f64().mapv(|v| v as f32));
    let mut inputs = Tensors::new();
    inputs.insert("x".to_owned(), narrow("input"));
    let labels = data.get("labels").i64s();
    inputs.insert(step.labels.to_string(), Array::Int(ArrayD::from_shape_vec(vec![labels.len()], labels).unwrap()));
    for weight in &step.weights {
        inputs.insert(weight.value.to_string(), narrow(&format!("weight/{}", weight.value)));
    }
    let outputs = engine.run(inputs).unwrap();

    let mut failures = Vec::new();
    let mut compare = |value: &Value, expected: &str| {
        let Array::Float(found) = &outputs[value.as_str()] else { panic!("{value}: no numbers") };
        let (found, expected_numbers) = (found.mapv(f64::from), data.get(expected).f64());
        let largest = |a: &ArrayD<f64>| a.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        let error = relative_error(&found, expected_numbers);
        println!("{expected}: {error:.1e}");
        let is_zero = largest(expected_numbers) < ZERO && largest(&found) < ZERO;
        if !is_zero && (error.is_nan() || error > TOLERANCE) {
            failures.push(format!("{expected}: relative error {error:.1e}"));
        }
    };
    compare(&step.logits[0], "logits");
    compare(&step.loss, "loss");
    compare(step.gradient.as_ref().unwrap(), "gradient");
    for weight in &step.weights {
        compare(&weight.gradient, &format!("gradient/{}", weight.value));
    }
    assert_eq!(step.statistics.len(), 4);
    for s in &step.statistics {
        compare(&s.mean, &format!("mean/{}", s.running_mean));
        compare(&s.variance, &format!("variance/{}", s.running_variance));
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}
