//! Vector–Jacobian products of a shipped classifier, and gradients that are stopped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::num::NonZeroUsize;

use assay_graph::Loss;
use assay_runtime::{
    Cancel, Class, Classifier, ClassifierOptions, EngineOptions, Objective, OnnxClassifier, OnnxRuntime, RunError,
};
use ndarray::{Array2, ArrayView1};

fn batch(n: usize) -> Array2<f32> {
    Array2::from_shape_fn((n, 784), |(i, j)| ((i * 31 + j * 7 + i * j) % 17) as f32 / 16.0)
}

/// Runs of at most 4 samples, on two sessions.
fn fashion(runtime: &OnnxRuntime) -> OnnxClassifier {
    let sessions = NonZeroUsize::new(2).unwrap();
    let options = ClassifierOptions {
        max_batch: NonZeroUsize::new(4).unwrap(),
        engine: EngineOptions { sessions, ..EngineOptions::default() },
        ..ClassifierOptions::default()
    };
    OnnxClassifier::load(runtime, &support::fashion(), &options).unwrap()
}

fn argmax(row: &ArrayView1<'_, f32>) -> usize {
    (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

#[test]
fn the_product_with_the_margins_derivative_is_the_margins_gradient() {
    let Some(runtime) = support::runtime() else { return };
    let model = fashion(&runtime);
    let x = batch(11);
    let label = 3;
    let margin = model.gradient(x.view(), Loss::Margin, &[Class(label); 11], None).unwrap();
    let mut cotangent = Array2::zeros((11, 10));
    for (mut w, z) in cotangent.rows_mut().into_iter().zip(margin.logits.rows()) {
        let mut others = z.to_owned();
        others[label as usize] = f32::NEG_INFINITY;
        w[argmax(&others.view())] = 1.0;
        w[label as usize] = -1.0;
    }
    let product = model.vjp(x.view(), cotangent.view()).unwrap();
    assert!(product.loss.is_empty());
    assert!((&product.logits - &margin.logits).iter().all(|d| d.abs() < 1e-5));
    assert!(product.gradient.iter().any(|&g| g != 0.0));
    assert!((&product.gradient - &margin.gradient).iter().all(|d| d.abs() < 1e-5));
    // Linear in the cotangent, whatever its order in memory.
    let twice = (&cotangent * 2.0).t().as_standard_layout().into_owned();
    let twice = model.vjp(x.view(), twice.t()).unwrap().gradient;
    assert!((&twice - &(&product.gradient * 2.0)).iter().all(|d| d.abs() < 1e-5));
}

#[test]
fn a_cotangent_that_does_not_fit_is_refused_with_what_was_expected() {
    let Some(runtime) = support::runtime() else { return };
    let model = fashion(&runtime);
    let refused = |cotangent: Array2<f32>| match model.vjp(batch(2).view(), cotangent.view()) {
        Err(RunError::Invalid(text)) => text,
        other => panic!("{other:?}"),
    };
    assert!(
        refused(Array2::zeros((2, 9))).contains("shape [2, 9]: one value for each sample and class is needed, [2, 10]")
    );
    let mut infinite = Array2::zeros((2, 10));
    infinite[[1, 3]] = f32::INFINITY;
    assert!(refused(infinite).contains("sample 1"));
    assert_eq!(model.vjp(Array2::zeros((0, 784)).view(), Array2::zeros((0, 10)).view()).unwrap().gradient.nrows(), 0);
}

#[test]
fn what_waits_when_the_switch_is_thrown_is_not_run() {
    let Some(runtime) = support::runtime() else { return };
    let model = fashion(&runtime);
    let cancel = Cancel::default();
    let labels = vec![Class(0); 8];
    let loss = Objective::Loss { loss: Loss::CrossEntropy, labels: &labels, targets: None };
    assert_eq!(model.differentiate(&batch(8).view(), loss, &cancel).unwrap().loss.len(), 8);
    cancel.cancel();
    assert_eq!(model.differentiate(&batch(8).view(), loss, &cancel), Err(RunError::Cancelled));
}
