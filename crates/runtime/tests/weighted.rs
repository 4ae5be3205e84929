//! A hosted model whose weights are arguments.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod support;

use std::num::NonZeroU64;

use assay_graph::Loss;
use assay_runtime::{Cancel, Class, Classifier, ClassifierOptions, OnnxClassifier, RunError, Weighted};
use ndarray::{Array2, ArrayD};

fn batch(n: usize) -> (Array2<f32>, Vec<Class>) {
    let x = Array2::from_shape_fn((n, 784), |(i, j)| ((i * 31 + j * 7) % 97) as f32 / 96.0);
    (x, (0..n).map(|i| Class((i % 10) as u32)).collect())
}

#[test]
fn with_the_weights_of_the_file_it_is_the_model() {
    let Some(runtime) = support::runtime() else { return };
    // So little memory that a batch takes several runs.
    for memory in [None, NonZeroU64::new(6 << 20)] {
        let options = ClassifierOptions { memory, ..ClassifierOptions::default() };
        let model = OnnxClassifier::load(&runtime, &support::fashion(), &options).unwrap();
        let weighted = model.weighted().unwrap();
        let (x, labels) = batch(150);
        let weights: Vec<ArrayD<f32>> = weighted.weights().iter().map(|w| w.values.clone()).collect();
        let found = weighted.step(x.view(), &labels, &weights, &Cancel::default()).unwrap();
        let expected = model.gradient(x.view(), Loss::CrossEntropy, &labels, None).unwrap();
        let largest = |a: &Array2<f32>, b: &Array2<f32>| (a - b).iter().fold(0.0_f32, |m, d| m.max(d.abs()));
        assert!(largest(&found.logits, &expected.logits) < 1e-4);
        assert!(largest(&found.gradient, &expected.gradient) < 1e-5);
        assert!(found.loss.iter().zip(&expected.loss).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}

#[test]
fn gradients_by_weights_are_those_of_finite_differences() {
    let Some(runtime) = support::runtime() else { return };
    let model = OnnxClassifier::load(&runtime, &support::fashion(), &ClassifierOptions::default()).unwrap();
    let weighted = model.weighted().unwrap();
    let (x, labels) = batch(20);
    let mut weights: Vec<ArrayD<f32>> = weighted.weights().iter().map(|w| w.values.clone()).collect();
    assert!(weights.len() > 4, "kernels and biases");
    let sum = |weights: &[ArrayD<f32>]| -> f64 {
        let step = weighted.step(x.view(), &labels, weights, &Cancel::default()).unwrap();
        step.loss.iter().map(|v| f64::from(*v)).sum()
    };
    let step = weighted.step(x.view(), &labels, &weights, &Cancel::default()).unwrap();
    for i in 0..weights.len() {
        // Along the gradient itself, which says most.
        let gradient = step.by_weights[i].clone();
        let length = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        let (kept, h) = (weights[i].clone(), 1e-3);
        let moved = |sign: f64| &kept + &gradient.mapv(|g| (sign * h * f64::from(g) / length) as f32);
        weights[i] = moved(1.0);
        let above = sum(&weights);
        weights[i] = moved(-1.0);
        let slope = (above - sum(&weights)) / (2.0 * h);
        weights[i] = kept;
        let name = &weighted.weights()[i].name;
        println!("{name}: {length:.4} and {slope:.4}");
        assert!((slope - length).abs() <= 0.02 * length + 1e-2, "{name}: {slope}, where the gradient says {length}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(runtime) = support::runtime() else { return };
    let model = OnnxClassifier::load(&runtime, &support::fashion(), &ClassifierOptions::default()).unwrap();
    let weighted = model.weighted().unwrap();
    let (x, labels) = batch(3);
    let weights: Vec<ArrayD<f32>> = weighted.weights().iter().map(|w| w.values.clone()).collect();
    let refused = |labels: &[Class], weights: &[ArrayD<f32>], says: &str| {
        let error = weighted.step(x.view(), labels, weights, &Cancel::default()).unwrap_err();
        assert!(matches!(&error, RunError::Invalid(text) if text.contains(says)), "{error}");
    };
    refused(&labels[1..], &weights, "784 values for each of 2 labels");
    refused(&[Class(0), Class(10), Class(1)], &weights, "label 10 is out of range");
    refused(&labels, &weights[1..], "the weights are not as many");
    let cancel = Cancel::default();
    cancel.cancel();
    assert_eq!(weighted.step(x.view(), &labels, &weights, &cancel), Err(RunError::Cancelled));
}
