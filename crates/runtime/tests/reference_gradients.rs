//! Losses and gradients of whole networks on ONNX Runtime in f32, against those that PyTorch computed in f64.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod support;

use assay_graph::Loss;
use assay_reference::{Npz, material, relative_error};
use assay_runtime::{Adaptation, Class, Classifier, ClassifierOptions, OnnxClassifier};
use ndarray::{Array2, ArrayD, IxDyn};

/// Relative Euclidean error that f32 is allowed.
const TOLERANCE: f64 = 1e-5;

#[test]
fn losses_and_gradients_are_those_of_pytorch() {
    let (Some(material), Some(runtime)) = (material(), support::runtime()) else { return };
    let mut failures = Vec::new();
    for name in material.names("gradients", "onnx") {
        let data = material.npz(&format!("gradients/{name}.npz"));
        let file = material.path(&format!("gradients/{name}.onnx"));
        let model = OnnxClassifier::load(&runtime, &file, &ClassifierOptions::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        #[allow(clippy::cast_possible_truncation)]
        let x = data.get("input").f64().mapv(|v| v as f32);
        let x = x.to_shape((x.shape()[0], model.spec().features())).unwrap().to_owned();
        let (labels, targets) = (classes(&data, "labels"), classes(&data, "targets"));
        let mut compare = |what: &str, found: ArrayD<f64>, expected: &str| {
            let expected = data.get(expected).f64();
            let found = found.into_shape_with_order(expected.raw_dim()).unwrap();
            let error = relative_error(&found, expected);
            println!("{name}, {what}: {error:.1e}");
            if error.is_nan() || error > TOLERANCE {
                failures.push(format!("{name}, {what}: relative error {error:.1e}"));
            }
        };
        // PyTorch's logits of a model that ends in a softmax are what that gives.
        let cut = |a: &Adaptation| matches!(a, Adaptation::SoftmaxCut { operator, .. } if operator == "LogSoftmax");
        let logits = |found: &Array2<f32>| match model.info().adaptations.iter().any(cut) {
            true => log_softmax(found),
            false => wide(found),
        };
        compare("logits", logits(&model.logits(x.view()).unwrap()), "logits");
        // The reference has no targeted margin; the graph crate's `losses.rs` compares it with its definition.
        for loss in Loss::ALL.into_iter().filter(|loss| *loss != Loss::MarginTargeted) {
            let key = loss.name().replace('-', "_");
            let targets = loss.needs_target().then_some(&targets[..]);
            let found = model
                .gradient(x.view(), loss, &labels, targets)
                .unwrap_or_else(|error| panic!("{name}, {loss}: {error}"));
            let values = found.loss.iter().copied().map(f64::from).collect();
            compare(&format!("{loss}, loss"), ArrayD::from_shape_vec(IxDyn(&[labels.len()]), values).unwrap(), &key);
            compare(&format!("{loss}, gradient"), wide(&found.gradient), &format!("{key}_grad"));
            compare(&format!("{loss}, logits"), logits(&found.logits), "logits");
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

fn classes(data: &Npz, name: &str) -> Vec<Class> {
    data.get(name).i64s().into_iter().map(|c| Class(u32::try_from(c).unwrap())).collect()
}

fn wide(a: &Array2<f32>) -> ArrayD<f64> {
    a.mapv(f64::from).into_dyn()
}

fn log_softmax(a: &Array2<f32>) -> ArrayD<f64> {
    let mut a = a.mapv(f64::from);
    for mut row in a.rows_mut() {
        let sum = row.iter().map(|v| v.exp()).sum::<f64>().ln();
        row -= sum;
    }
    a.into_dyn()
}
