//! The graph of each objective's step against difference quotients of its own loss, in f64, and the losses against their
//! formulas.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use assay_attack::{Bounds, Norm, Threat};
use assay_graph::{
    BatchNorm, Canonical, Criterion, DataType, Dimension, Graph, Loss, Model, Node, Shaped, Training, ValueInfo, Wrt,
    training,
};
use assay_harden::{Alp, Begin, Climb, Mart, Perturbation, Trades};
use assay_reference::{Array, Data, Random, Values, probe, run};
use ndarray::{ArrayD, Axis};

const BATCH: usize = 3;
const LABELS: [i64; BATCH] = [2, 0, 3];

/// A convolution, a batch norm and a product: four classes.
fn net() -> Shaped {
    let mut graph = Graph::default();
    let dims = [Dimension::Symbol("batch".into()), Dimension::Known(1), Dimension::Known(3), Dimension::Known(3)];
    graph.inputs.push(ValueInfo::new("x", DataType::Float, dims.to_vec()));
    graph.outputs.push(ValueInfo::untyped("z".into()));
    let mut random = Random::new(4);
    let shapes: [(&str, &[usize], f64, f64); 7] = [
        ("conv.w", &[4, 1, 2, 2], -1.0, 1.0),
        ("bn.scale", &[4], 0.5, 1.5),
        ("bn.bias", &[4], -0.5, 0.5),
        ("bn.mean", &[4], -0.5, 0.5),
        ("bn.var", &[4], 0.5, 1.5),
        ("fc.w", &[4, 4], -2.0, 2.0),
        ("fc.b", &[4], -1.0, 1.0),
    ];
    for (name, dims, low, high) in shapes {
        graph.initializers.insert(name.into(), random.array(dims, &Values::uniform(low, high)).to_tensor());
    }
    let nodes = [
        ("Conv", "x conv.w", "a"),
        ("BatchNormalization", "a bn.scale bn.bias bn.mean bn.var", "b"),
        ("Sigmoid", "b", "c"),
        ("GlobalAveragePool", "c", "d"),
        ("Flatten", "d", "e"),
        ("Gemm", "e fc.w fc.b", "z"),
    ];
    for (operator, inputs, output) in nodes {
        let inputs = inputs.split(' ').map(|i| Some(i.into())).collect();
        graph.nodes.push(Node::new(operator, inputs, vec![Some(output.into())]));
    }
    probe(Canonical::new(Model::new(18, graph)).unwrap(), &[("x", samples(1))])
}

fn samples(seed: u64) -> Array {
    Random::new(seed).array(&[BATCH, 1, 3, 3], &Values::uniform(0.0, 1.0))
}

fn perturbation() -> Perturbation {
    let threat = Threat { norm: Norm::Linf, eps: "8/255".parse().unwrap(), bounds: Bounds::new(0.0, 1.0).unwrap() };
    Perturbation { threat, steps: 10, length: 0.007, begin: Begin::Normal(0.001), climb: Climb::Divergence }
}

/// The step, its weights and a run of it.
struct Case {
    step: Training,
    inputs: Vec<(String, Array)>,
}

impl Case {
    fn new(criterion: &dyn Criterion) -> Self {
        let net = net();
        let wrt = Wrt { weights: None, input: true };
        let step = training(&net, criterion, &wrt, BatchNorm::OfBatch).unwrap();
        let initializers = &net.model().graph.initializers;
        let content = |value: &assay_graph::Value| Array::from_tensor(&initializers[value]).unwrap();
        let mut inputs: Vec<_> = step.weights.iter().map(|w| (w.value.to_string(), content(&w.value))).collect();
        inputs.extend(step.inputs.iter().zip(7..).map(|(view, seed)| (view.to_string(), samples(seed))));
        inputs.push((step.labels.to_string(), Array::ints(&[BATCH], LABELS.to_vec())));
        Self { step, inputs }
    }

    fn evaluate(&self) -> std::collections::HashMap<assay_graph::Value, Array> {
        let named: Vec<_> = self.inputs.iter().map(|(n, a)| (n.as_str(), a.clone())).collect();
        run(&self.step.model, &named).unwrap()
    }

    /// Every derivative against a difference quotient of the sum of the losses.
    fn check_derivatives(&mut self) {
        let values = self.evaluate();
        let last = self.step.inputs.last().unwrap().clone();
        let of_weights = self.step.weights.iter().map(|w| (w.value.clone(), w.gradient.clone()));
        let all: Vec<_> = of_weights.chain(self.step.gradient.clone().map(|g| (last, g))).collect();
        for (value, gradient) in all {
            let slot = self.inputs.iter().position(|(n, _)| n == value.as_str()).unwrap();
            let original = self.inputs[slot].1.f64().clone();
            for (at, found) in values[&gradient].f64().indexed_iter() {
                let mut loss = |step: f64| {
                    let mut moved: ArrayD<f64> = original.clone();
                    moved[&at] += step;
                    self.inputs[slot].1.data = Data::Float(moved);
                    self.evaluate()[&self.step.loss].f64().sum()
                };
                let quotient = (loss(1e-5) - loss(-1e-5)) / 2e-5;
                assert!(
                    (found - quotient).abs() < 2e-7 * quotient.abs().max(1.0),
                    "{value}{at:?}: {found}, not {quotient}"
                );
            }
            self.inputs[slot].1.data = Data::Float(original);
        }
    }

    /// Logits of each view, and the losses.
    fn results(&self) -> (Vec<Vec<Vec<f64>>>, Vec<f64>) {
        let values = self.evaluate();
        let rows = |a: &ArrayD<f64>| a.axis_iter(Axis(0)).map(|row| row.iter().copied().collect()).collect();
        let logits = self.step.logits.iter().map(|z| rows(values[z].f64())).collect();
        (logits, values[&self.step.loss].f64().iter().copied().collect())
    }
}

fn softmax(z: &[f64]) -> Vec<f64> {
    let sum: f64 = z.iter().map(|z| z.exp()).sum();
    z.iter().map(|z| z.exp() / sum).collect()
}

fn divergence(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum()
}

/// `formula` takes the logits of the views of one sample and its label.
#[track_caller]
fn check(criterion: &dyn Criterion, formula: impl Fn(&[&[f64]], usize) -> f64) {
    let mut case = Case::new(criterion);
    let (logits, losses) = case.results();
    assert_eq!(logits.len(), criterion.views());
    for (sample, (loss, label)) in losses.iter().zip(LABELS).enumerate() {
        let views: Vec<&[f64]> = logits.iter().map(|view| &view[sample][..]).collect();
        let expected = formula(&views, label as usize);
        assert!((loss - expected).abs() < 1e-9, "sample {sample}: {loss}, not {expected}");
    }
    case.check_derivatives();
}

#[test]
fn cross_entropy() {
    check(&Loss::CrossEntropy, |z, y| -softmax(z[0])[y].ln());
}

#[test]
fn trades() {
    let trades = Trades { perturbation: perturbation(), beta: 6.0 };
    check(&trades, |z, y| {
        let (p, q) = (softmax(z[0]), softmax(z[1]));
        -p[y].ln() + 6.0 * divergence(&p, &q)
    });
}

#[test]
fn logit_pairing() {
    let alp = Alp { perturbation: perturbation(), weight: 0.5 };
    check(&alp, |z, y| {
        let apart: f64 = z[0].iter().zip(z[1]).map(|(a, b)| (a - b).powi(2)).sum();
        -softmax(z[0])[y].ln() - softmax(z[1])[y].ln() + 0.5 * apart / 4.0
    });
}

#[test]
fn mart() {
    let mart = Mart { perturbation: perturbation(), weight: 5.0 };
    check(&mart, |z, y| {
        let (p, q) = (softmax(z[0]), softmax(z[1]));
        let other = (0..4).filter(|&k| k != y).map(|k| q[k]).fold(0.0, f64::max);
        -q[y].ln() - (f64::from(1.0001_f32) - other).ln() + 5.0 * divergence(&p, &q) * (1.0 - p[y])
    });
}

/// The statistics of the views are apart, and both follow the layer.
#[test]
fn views_are_normalised_apart() {
    let case = Case::new(&Trades { perturbation: perturbation(), beta: 6.0 });
    let statistics = &case.step.statistics;
    assert_eq!(statistics.len(), 2);
    assert_eq!(statistics[0].running_mean, statistics[1].running_mean);
    let values = case.evaluate();
    assert_ne!(values[&statistics[0].mean], values[&statistics[1].mean]);
    assert_eq!(values[&statistics[0].mean].dims(), [4]);
}
