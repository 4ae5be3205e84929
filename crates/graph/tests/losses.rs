//! The losses against their definitions, written a second time in plain Rust, and against stored values.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use assay_graph::{Canonical, DataType, Dimension, Graph, Loss, Model, Node, Value, ValueInfo, gradient};
use assay_reference::{Array, Random, Values, material, probe, run};

/// Losses and their derivatives of `samples` rows of logits, from the derived graph of a model that returns its input.
struct Found {
    losses: Vec<f64>,
    gradients: Vec<Vec<f64>>,
}

fn identity(classes: usize) -> Model {
    let info = |name: &str| {
        let shape = vec![Dimension::Symbol("batch".into()), Dimension::Known(classes)];
        ValueInfo::new(name, DataType::Float, shape)
    };
    let node = Node::new("Sum", vec![Some("x".into())], vec![Some("z".into())]);
    let mut graph = Graph::default();
    graph.inputs = vec![info("x")];
    graph.outputs = vec![info("z")];
    graph.nodes = vec![node];
    Model::new(18, graph)
}

fn evaluate(loss: Loss, rows: &[Vec<f64>], labels: &[i64], targets: &[i64]) -> Found {
    let (n, classes) = (rows.len(), rows[0].len());
    let x = Array::floats(&[n, classes], rows.concat());
    let source = probe(Canonical::new(identity(classes)).unwrap(), &[("x", x.clone())]);
    let derived = gradient(&source, loss).unwrap();
    assert_eq!(derived.targets.is_some(), loss.needs_target());
    let mut inputs = vec![(derived.input.as_str(), x), (derived.labels.as_str(), Array::ints(&[n], labels.to_vec()))];
    if let Some(input) = &derived.targets {
        inputs.push((input.as_str(), Array::ints(&[n], targets.to_vec())));
    }
    let values = run(&derived.model, &inputs).unwrap();
    assert_eq!(values[&derived.logits].dims(), [n, classes]);
    assert_eq!(values[&derived.loss].dims(), [n]);
    let gradients: Vec<f64> = values[&derived.gradient].f64().iter().copied().collect();
    Found {
        losses: values[&derived.loss].f64().iter().copied().collect(),
        gradients: gradients.chunks(classes).map(<[f64]>::to_vec).collect(),
    }
}

/// The definitions of [`Loss`].
fn expected(loss: Loss, z: &[f64], y: usize, t: usize) -> f64 {
    let mut sorted = z.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let best_other = z.iter().enumerate().filter(|(j, _)| *j != y).map(|(_, z)| *z).fold(f64::MIN, f64::max);
    match loss {
        Loss::CrossEntropy => sorted[0] + z.iter().map(|v| (v - sorted[0]).exp()).sum::<f64>().ln() - z[y],
        Loss::Margin => best_other - z[y],
        Loss::MarginTargeted => z[t] - z[y],
        Loss::Dlr => -(z[y] - best_other) / (sorted[0] - sorted[2] + 1e-12),
        Loss::DlrTargeted => -(z[y] - z[t]) / (sorted[0] - (sorted[2] + sorted[3]) / 2.0 + 1e-12),
    }
}

fn near(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-6 * expected.abs().max(1.0)
}

#[test]
fn every_loss_is_its_definition_and_its_derivative_that_of_the_definition() {
    let mut random = Random::new(3);
    for (loss, classes) in Loss::ALL.into_iter().flat_map(|loss| [2usize, 3, 4, 10].map(|classes| (loss, classes))) {
        if classes < loss.min_classes() {
            continue;
        }
        let rows: Vec<Vec<f64>> = (0..12)
            .map(|_| random.array(&[classes], &Values::distinct(-3.0, 3.0)).f64().iter().copied().collect())
            .collect();
        let labels: Vec<i64> = (0..12).map(|i| i % classes as i64).collect();
        let targets: Vec<i64> = (0..12).map(|i| (i + 1) % classes as i64).collect();
        let found = evaluate(loss, &rows, &labels, &targets);
        for (i, row) in rows.iter().enumerate() {
            let at = |z: &[f64]| expected(loss, z, labels[i] as usize, targets[i] as usize);
            assert!(near(found.losses[i], at(row)), "{loss} of {row:?}: {} instead of {}", found.losses[i], at(row));
            for j in 0..classes {
                let moved = |step: f64| {
                    let mut z = row.clone();
                    z[j] += step;
                    at(&z)
                };
                let quotient = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                let derivative = found.gradients[i][j];
                assert!(near(derivative, quotient), "{loss} of {row:?} by {j}: {derivative} instead of {quotient}");
            }
        }
    }
}

#[test]
fn ties_go_to_the_lower_class() {
    let equal = vec![vec![1.0; 4]; 4];
    let unit = |plus: usize, minus: usize| {
        let mut row = vec![0.0; 4];
        row[plus] += 1.0;
        row[minus] -= 1.0;
        row
    };
    let others = [1, 0, 0, 0];
    let margin = evaluate(Loss::Margin, &equal, &[0, 1, 2, 3], &[]);
    let dlr = evaluate(Loss::Dlr, &equal, &[0, 1, 2, 3], &[]);
    for (y, &other) in others.iter().enumerate() {
        assert_eq!(margin.gradients[y], unit(other, y));
        let scaled: Vec<f64> = dlr.gradients[y].iter().map(|g| g * 1e-12).collect();
        assert!(scaled.iter().zip(unit(other, y)).all(|(a, b)| near(*a, b)), "{scaled:?}");
    }
    assert_eq!(margin.losses, [0.0; 4]);
    assert_eq!(dlr.losses, [0.0; 4]);
}

#[test]
fn extreme_logits_give_finite_losses_and_gradients() {
    for loss in Loss::ALL {
        let rows = [[1e4, -1e4, 0.0, 5.0], [-1e4, 1e4, 1e4, 1e4], [1e4, 1e4, 1e4, 1e4], [0.0, 0.0, 0.0, -1e4]];
        let found = evaluate(loss, &rows.map(|r| r.to_vec()), &[0, 0, 1, 3], &[1, 2, 0, 0]);
        assert!(found.losses.iter().chain(found.gradients.iter().flatten()).all(|v| v.is_finite()), "{loss}");
    }
}

#[test]
fn a_confident_model_still_has_a_cross_entropy_gradient() {
    // In f32 1 - p would be 0 here.
    let found = evaluate(Loss::CrossEntropy, &[vec![40.0, 0.0, 0.0]], &[0], &[]);
    let p = (-40f64).exp();
    for (found, expected) in found.gradients[0].iter().zip([-2.0 * p, p, p]) {
        assert!((found - expected).abs() <= 1e-6 * p, "{found} instead of {expected}");
    }
}

#[test]
fn dlr_does_not_change_with_the_scale_of_the_logits() {
    let row = vec![0.3, -1.2, 2.0, 0.7];
    let scaled: Vec<f64> = row.iter().map(|z| 7.0 * z + 3.0).collect();
    for loss in [Loss::Dlr, Loss::DlrTargeted] {
        let found = evaluate(loss, &[row.clone(), scaled.clone()], &[2, 2], &[3, 3]);
        assert!(near(found.losses[0], found.losses[1]), "{loss}: {:?}", found.losses);
    }
}

#[test]
fn too_few_classes_are_an_error_that_names_the_loss() {
    for (loss, classes) in [(Loss::Dlr, 2usize), (Loss::DlrTargeted, 3), (Loss::CrossEntropy, 1), (Loss::Margin, 1)] {
        let x = Array::floats(&[1, classes], vec![0.0; classes]);
        let source = probe(Canonical::new(identity(classes)).unwrap(), &[("x", x)]);
        let message = gradient(&source, loss).unwrap_err().to_string();
        assert!(message.contains(loss.name()) && message.contains(&format!("this model has {classes}")), "{message}");
    }
}

#[test]
fn stored_values_of_the_reference_implementation() {
    let Some(material) = material() else { return };
    let golden = material.json("attacks_golden.json");
    for loss in [Loss::Dlr, Loss::DlrTargeted] {
        let cases = golden["losses"][loss.name().replace('-', "_")].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            // The values were computed in f32 from f32 logits.
            let numbers = |key: &str| -> Vec<f64> {
                case[key].as_array().unwrap().iter().map(|v| f64::from(v.as_f64().unwrap() as f32)).collect()
            };
            let class = |key: &str| case[key].as_i64().unwrap();
            let found = evaluate(loss, &[numbers("logits")], &[class("label")], &[class("target")]);
            let value = case["loss"].as_f64().unwrap();
            assert!(near(found.losses[0], value), "{case}: {}", found.losses[0]);
            for (found, expected) in found.gradients[0].iter().zip(numbers("dloss_dlogits")) {
                assert!(near(*found, expected), "{case}: {found} instead of {expected}");
            }
        }
    }
}

#[test]
fn a_value_has_a_name_of_its_own_whatever_the_model_calls_its_values() {
    let mut model = identity(3);
    model.graph.inputs[0].value = Value::from("labels");
    model.graph.nodes[0].inputs[0] = Some("labels".into());
    let source = probe(Canonical::new(model).unwrap(), &[("labels", Array::floats(&[1, 3], vec![0.0; 3]))]);
    let derived = gradient(&source, Loss::CrossEntropy).unwrap();
    assert_eq!(derived.input.as_str(), "labels");
    assert_ne!(derived.labels, derived.input);
}
