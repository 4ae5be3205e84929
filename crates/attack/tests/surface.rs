//! Accuracy under changes of weights and inputs, on linear models whose answer is known.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::num::NonZeroU32;

use assay_attack::{Bounds, Eps, Norm, SampleId, Surface, SurfaceJob, surface};
use assay_graph::Loss;
use assay_runtime::{Cancel, Class, Classifier, ClassifierSpec, RunError, Weighed, Weight, Weighted};
use common::{Net, Samples};
use ndarray::{Array1, Array2, ArrayD, ArrayView2, Ix1, Ix2};

/// A linear net whose matrix and bias are arguments.
struct Linear {
    net: Net,
    weights: Vec<Weight>,
    spoiled: bool,
}

impl Linear {
    fn random(classes: usize, seed: u64) -> Self {
        let net = Net::random_linear(&[2, 3, 5], classes, seed);
        // What binary32 holds, so that nothing is lost on the way through the weights.
        let (matrix, bias) = (net.weights.mapv(|w| w as f32), Array1::from_iter(net.bias.iter().map(|b| *b as f32)));
        let weights = vec![
            Weight { name: "matrix".into(), values: matrix.clone().into_dyn() },
            Weight { name: "bias".into(), values: bias.clone().into_dyn() },
        ];
        let net = Net::linear(&[2, 3, 5], matrix.mapv(f64::from), bias.iter().map(|b| f64::from(*b)).collect());
        Self { net, weights, spoiled: false }
    }
}

impl Weighted for Linear {
    fn spec(&self) -> &ClassifierSpec {
        self.net.spec()
    }

    fn weights(&self) -> &[Weight] {
        &self.weights
    }

    fn step(
        &self,
        x: ArrayView2<'_, f32>,
        labels: &[Class],
        weights: &[ArrayD<f32>],
        _: &Cancel,
    ) -> Result<Weighed, RunError> {
        let matrix = weights[0].clone().into_dimensionality::<Ix2>().unwrap();
        let bias = weights[1].clone().into_dimensionality::<Ix1>().unwrap();
        let net = Net::linear(&[2, 3, 5], matrix.mapv(f64::from), bias.iter().map(|b| f64::from(*b)).collect());
        let at = net.gradient(x, Loss::CrossEntropy, labels, None)?;
        let mut residual: Array2<f32> = Array2::zeros(at.logits.dim());
        for ((mut r, z), label) in residual.rows_mut().into_iter().zip(at.logits.rows()).zip(labels) {
            let largest = z.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            r.assign(&z.mapv(|v| (v - largest).exp()));
            let sum = r.sum();
            r.mapv_inplace(|v| v / sum);
            r[label.index()] -= 1.0;
        }
        let mut by_matrix = residual.t().dot(&x);
        if self.spoiled {
            by_matrix[[0, 0]] = f32::NAN;
        }
        let by_bias = residual.sum_axis(ndarray::Axis(0));
        let by_weights = vec![by_matrix.into_dyn(), by_bias.into_dyn()];
        Ok(Weighed { logits: at.logits, loss: at.loss, gradient: at.gradient, by_weights })
    }
}

struct Asked<'a> {
    norm: Norm,
    eps: &'a [&'a str],
    radii: &'a [f64],
    steps: u32,
}

fn measured(model: &Linear, samples: &Samples, asked: &Asked<'_>) -> Result<Surface, String> {
    let eps: Vec<Eps> = asked.eps.iter().map(|eps| eps.parse().unwrap()).collect();
    let job = SurfaceJob {
        model,
        images: samples.images.view(),
        labels: &samples.labels,
        ids: &samples.ids,
        norm: asked.norm,
        bounds: Bounds::new(0.0, 1.0).unwrap(),
        eps: &eps,
        radii: asked.radii,
        steps: NonZeroU32::new(asked.steps).unwrap(),
        draws: 5,
        seed: 7,
    };
    surface(&job, &mut |_, _| {}, &Cancel::default()).map_err(|error| error.to_string())
}

fn alone(samples: &Samples, i: usize) -> Samples {
    Samples {
        images: samples.images.select(ndarray::Axis(0), &[i]),
        labels: vec![samples.labels[i]],
        ids: vec![SampleId(i as u64)],
    }
}

/// The share of the matrix's length that takes a sample to its nearest boundary: the way is along `(e_k - e_y) x'`, of length `sqrt(2) |x|`.
fn least(model: &Linear, samples: &Samples, i: usize) -> f64 {
    let (x, label) = (samples.images.row(i), samples.labels[i].index());
    let z = model.net.row(x);
    let length = x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    let matrix = model.net.weights.iter().map(|w| w * w).sum::<f64>().sqrt();
    let gap = |k: usize| (z[label] - z[k]) / (2.0_f64.sqrt() * length * matrix);
    (0..z.len()).filter(|k| *k != label).map(gap).fold(f64::INFINITY, f64::min)
}

#[test]
fn weights_that_mislead_are_as_near_as_the_closed_form_says() {
    // Towards several classes at once, as the cross-entropy goes, the way is longer.
    for (classes, slack) in [(2, 1.001), (4, 1.3)] {
        let model = Linear::random(classes, 5);
        let samples = Samples::random(&model.net, 20, 3);
        for i in 0..20 {
            let least = least(&model, &samples, i);
            let radii = [0.0, 0.999 * least, slack * least];
            let asked = Asked { norm: Norm::Linf, eps: &["0"], radii: &radii, steps: 10 };
            let surface = measured(&model, &alone(&samples, i), &asked).unwrap();
            assert_eq!(surface.correct.row(0).to_vec(), [1, 1, 0], "sample {i}, of {classes} classes: {least}");
            assert_eq!(surface.weights, ["matrix"], "a bias has one dimension");
        }
    }
}

#[test]
fn accuracy_falls_along_both_axes_and_chance_is_weaker() {
    let model = Linear::random(4, 5);
    let samples = Samples::random(&model.net, 120, 3);
    for norm in [Norm::Linf, Norm::L2, Norm::L1] {
        let eps = if norm == Norm::Linf { ["0", "0.01", "0.05"] } else { ["0", "0.1", "0.5"] };
        let asked = Asked { norm, eps: &eps, radii: &[0.0, 0.01, 0.05, 0.2], steps: 10 };
        let Surface { correct, random, cost, .. } = measured(&model, &samples, &asked).unwrap();
        assert_eq!(correct[[0, 0]], 120, "labels are the model's own");
        for (i, row) in correct.rows().into_iter().enumerate() {
            assert!(row.to_vec().is_sorted_by(|a, b| a >= b) && row[3] < row[0], "{norm}: {correct}");
            assert!(i == 0 || row.iter().zip(correct.row(i - 1)).all(|(a, b)| a <= b), "{norm}: {correct}");
        }
        assert!(correct[[2, 0]] < 120 && correct[[2, 2]] < correct[[2, 0]].min(correct[[0, 2]]), "{norm}: {correct}");
        assert!(random.iter().zip(correct.row(0)).all(|(by_chance, worst)| by_chance >= worst), "{random:?} {correct}");
        assert!(random[2] > correct[[0, 2]], "a gradient finds more than chance: {random:?} {correct}");
        // Of each cell at most: the ascent on weights, that on inputs, and once more.
        assert!(cost.queries == 0 && cost.gradients <= 120 * (12 * (11 + 11 + 1) + 20), "{cost:?}");
    }
}

#[test]
fn no_sample_is_lost_that_cannot_be() {
    let model = Linear::random(2, 5);
    let samples = Samples::random(&model.net, 60, 3);
    let matrix = model.net.weights.iter().map(|w| w * w).sum::<f64>().sqrt();
    let v = &model.net.weights.row(0) - &model.net.weights.row(1);
    let steepness: f64 = v.iter().map(|v| v.abs()).sum();
    for (eps, radius) in [(0.01, 0.02), (0.03, 0.01)] {
        let asked = Asked { norm: Norm::Linf, eps: &[&eps.to_string()], radii: &[radius], steps: 20 };
        let correct = measured(&model, &samples, &asked).unwrap().correct[[0, 0]];
        let safe = samples.images.rows().into_iter().filter(|x| {
            let z = model.net.row(*x);
            let length = x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            let (ball, reach) = (2.0_f64.sqrt() * radius * matrix, eps * (x.len() as f64).sqrt());
            (z[0] - z[1]).abs() > eps * steepness + ball * (length + reach)
        });
        let safe = safe.count() as u64;
        assert!(correct >= safe && correct < 60 && safe > 5, "{correct} correct, {safe} safe");
    }
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let mut model = Linear::random(4, 5);
    let samples = Samples::random(&model.net, 6, 3);
    let good = Asked { norm: Norm::Linf, eps: &["0", "0.1"], radii: &[0.0, 0.1], steps: 3 };
    for (asked, says) in [
        (Asked { eps: &[], ..good }, "eps are []: expected at least one"),
        (Asked { eps: &["0.1", "0.1"], ..good }, "each larger than the one before"),
        (Asked { radii: &[-0.1], ..good }, "radii are [-0.1]"),
        (Asked { radii: &[f64::NAN], ..good }, "radii are [NaN]"),
        (Asked { eps: &["inf"], ..good }, "finite"),
        (Asked { norm: Norm::L0, ..good }, "expected Linf, L2 or L1"),
    ] {
        let error = measured(&model, &samples, &asked).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
    let wrong = Samples { labels: samples.labels[1..].to_vec(), ..alone(&samples, 0) };
    assert!(measured(&model, &wrong, &good).unwrap_err().contains("a label and an id for each"));
    model.spoiled = true;
    assert!(measured(&model, &samples, &good).unwrap_err().contains("is not finite"));
    model.weights.remove(0);
    assert!(measured(&model, &samples, &good).unwrap_err().contains("no weight of two dimensions"));
}
