//! Classifiers whose robust samples are known, computed row by row in binary64 so that a batch changes nothing.
// Each test file uses its part; views of rows are as cheap as references.
#![allow(dead_code, unreachable_pub, clippy::needless_pass_by_value)]

use std::num::NonZeroUsize;
use std::sync::Mutex;

use assay_attack::{
    Attack, Attacked, Bounds, Budget, Cancel, Goal, Job, Norm, Outcome, SampleId, SampleRng, Threat, run,
};
use assay_graph::Loss;
use assay_runtime::{Class, Classifier, ClassifierSpec, Evaluated, Gradients, RunError};
use ndarray::{Array2, ArrayView1, ArrayView2};

/// `W x + b`, or with a hidden layer `W relu(V x + c) + b`.
pub struct Net {
    spec: ClassifierSpec,
    pub hidden: Option<(Array2<f64>, Vec<f64>)>,
    pub weights: Array2<f64>,
    pub bias: Vec<f64>,
}

impl Net {
    pub fn linear(sample_shape: &[usize], weights: Array2<f64>, bias: Vec<f64>) -> Self {
        Self { spec: spec(sample_shape, weights.nrows()), hidden: None, weights, bias }
    }

    pub fn mlp(sample_shape: &[usize], hidden: (Array2<f64>, Vec<f64>), weights: Array2<f64>, bias: Vec<f64>) -> Self {
        Self { spec: spec(sample_shape, weights.nrows()), hidden: Some(hidden), weights, bias }
    }

    /// Non-uniform random weights, with a bias that puts the middle of the range near the boundaries.
    pub fn random_linear(sample_shape: &[usize], classes: usize, seed: u64) -> Self {
        let features = sample_shape.iter().product();
        let weights = deviates(classes, features, seed).mapv(f64::from);
        let bias = weights.rows().into_iter().map(|w| -0.5 * w.sum()).collect();
        Self::linear(sample_shape, weights, bias)
    }

    pub fn row(&self, x: ArrayView1<'_, f32>) -> Vec<f64> {
        self.forward(x).1
    }

    /// Values of the hidden layer before its activation, and logits.
    fn forward(&self, x: ArrayView1<'_, f32>) -> (Vec<f64>, Vec<f64>) {
        let x: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
        match &self.hidden {
            None => (Vec::new(), affine(&self.weights, &self.bias, &x)),
            Some((v, c)) => {
                let before = affine(v, c, &x);
                let after: Vec<f64> = before.iter().map(|h| h.max(0.0)).collect();
                (before, affine(&self.weights, &self.bias, &after))
            }
        }
    }

    fn backward(&self, before: &[f64], at_logits: &[f64]) -> Vec<f64> {
        let gradient = transposed(&self.weights, at_logits);
        let Some((v, _)) = &self.hidden else { return gradient };
        let gradient: Vec<f64> = gradient.iter().zip(before).map(|(g, h)| if *h > 0.0 { *g } else { 0.0 }).collect();
        transposed(v, &gradient)
    }
}

fn spec(sample_shape: &[usize], classes: usize) -> ClassifierSpec {
    ClassifierSpec {
        digest: String::new(),
        sample_shape: sample_shape.to_vec(),
        classes,
        provider: "cpu".to_owned(),
        gradients: Gradients::Exact,
    }
}

fn affine(w: &Array2<f64>, b: &[f64], x: &[f64]) -> Vec<f64> {
    let dot = |w: &[f64]| w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
    w.rows().into_iter().zip(b).map(|(w, b)| dot(w.to_slice().unwrap()) + b).collect()
}

fn transposed(w: &Array2<f64>, y: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; w.ncols()];
    for (w, y) in w.rows().into_iter().zip(y).filter(|(_, y)| **y != 0.0) {
        for (sum, w) in sum.iter_mut().zip(w.to_slice().unwrap()) {
            *sum += w * y;
        }
    }
    sum
}

/// Value of a loss and its derivative with respect to the logits.
fn loss_of(loss: Loss, z: &[f64], y: usize, target: usize) -> (f64, Vec<f64>) {
    let mut gradient = vec![0.0; z.len()];
    let mut order: Vec<usize> = (0..z.len()).collect();
    order.sort_by(|a, b| z[*b].total_cmp(&z[*a]));
    let rival = order[usize::from(order[0] == y)];
    let value = match loss {
        Loss::CrossEntropy => {
            let top = z[order[0]];
            let sum: f64 = z.iter().map(|v| (v - top).exp()).sum();
            for (g, v) in gradient.iter_mut().zip(z) {
                *g = (v - top).exp() / sum;
            }
            gradient[y] -= 1.0;
            top + sum.ln() - z[y]
        }
        Loss::Margin => {
            gradient[rival] += 1.0;
            gradient[y] -= 1.0;
            z[rival] - z[y]
        }
        Loss::Dlr => {
            let spread = z[order[0]] - z[order[2]] + 1e-12;
            let value = (z[rival] - z[y]) / spread;
            gradient[rival] += 1.0 / spread;
            gradient[y] -= 1.0 / spread;
            gradient[order[0]] -= value / spread;
            gradient[order[2]] += value / spread;
            value
        }
        Loss::MarginTargeted => {
            gradient[target] += 1.0;
            gradient[y] -= 1.0;
            z[target] - z[y]
        }
        Loss::DlrTargeted => {
            let spread = z[order[0]] - (z[order[2]] + z[order[3]]) / 2.0 + 1e-12;
            let value = (z[target] - z[y]) / spread;
            gradient[target] += 1.0 / spread;
            gradient[y] -= 1.0 / spread;
            gradient[order[0]] -= value / spread;
            gradient[order[2]] += value / spread / 2.0;
            gradient[order[3]] += value / spread / 2.0;
            value
        }
    };
    (value, gradient)
}

impl Classifier for Net {
    fn spec(&self) -> &ClassifierSpec {
        &self.spec
    }

    fn logits(&self, x: ArrayView2<'_, f32>) -> Result<Array2<f32>, RunError> {
        let rows = x.rows().into_iter().flat_map(|x| self.row(x)).map(|v| v as f32).collect();
        Ok(Array2::from_shape_vec((x.nrows(), self.spec.classes), rows).unwrap())
    }

    fn gradient(
        &self,
        x: ArrayView2<'_, f32>,
        loss: Loss,
        labels: &[Class],
        targets: Option<&[Class]>,
    ) -> Result<Evaluated, RunError> {
        let mut gradient = Array2::zeros(x.dim());
        let mut logits = Array2::zeros((x.nrows(), self.spec.classes));
        let mut losses = Vec::new();
        for (i, (x, label)) in x.rows().into_iter().zip(labels).enumerate() {
            let (before, z) = self.forward(x);
            let (value, at_logits) = loss_of(loss, &z, label.index(), targets.map_or(0, |targets| targets[i].index()));
            losses.push(value as f32);
            let backward = self.backward(&before, &at_logits);
            gradient.row_mut(i).iter_mut().zip(backward).for_each(|(g, v)| *g = v as f32);
            logits.row_mut(i).iter_mut().zip(z).for_each(|(z, v)| *z = v as f32);
        }
        Ok(Evaluated { logits, loss: losses, gradient })
    }

    fn vjp(&self, x: ArrayView2<'_, f32>, cotangent: ArrayView2<'_, f32>) -> Result<Evaluated, RunError> {
        let mut gradient = Array2::zeros(x.dim());
        for (i, (x, w)) in x.rows().into_iter().zip(cotangent.rows()).enumerate() {
            let at_logits: Vec<f64> = w.iter().copied().map(f64::from).collect();
            let backward = self.backward(&self.forward(x).0, &at_logits);
            gradient.row_mut(i).iter_mut().zip(backward).for_each(|(g, v)| *g = v as f32);
        }
        Ok(Evaluated { logits: self.logits(x)?, loss: Vec::new(), gradient })
    }
}

/// What a batch and its answer become.
type Alter<'a, T> = Box<dyn Fn(ArrayView2<'_, f32>, T) -> Result<T, RunError> + Send + Sync + 'a>;

/// A net whose answers are altered on their way.
pub struct Altered<'a> {
    pub net: &'a Net,
    pub logits: Alter<'a, Array2<f32>>,
    pub gradient: Alter<'a, Evaluated>,
}

impl<'a> Altered<'a> {
    pub fn new(net: &'a Net) -> Self {
        Self { net, logits: Box::new(|_, z| Ok(z)), gradient: Box::new(|_, e| Ok(e)) }
    }
}

impl Classifier for Altered<'_> {
    fn spec(&self) -> &ClassifierSpec {
        self.net.spec()
    }

    fn logits(&self, x: ArrayView2<'_, f32>) -> Result<Array2<f32>, RunError> {
        (self.logits)(x, self.net.logits(x)?)
    }

    fn gradient(
        &self,
        x: ArrayView2<'_, f32>,
        loss: Loss,
        labels: &[Class],
        targets: Option<&[Class]>,
    ) -> Result<Evaluated, RunError> {
        (self.gradient)(x, self.net.gradient(x, loss, labels, targets)?)
    }

    fn vjp(&self, x: ArrayView2<'_, f32>, cotangent: ArrayView2<'_, f32>) -> Result<Evaluated, RunError> {
        (self.gradient)(x, self.net.vjp(x, cotangent)?)
    }
}

/// Samples with the labels that a net gives them.
pub struct Samples {
    pub images: Array2<f32>,
    pub labels: Vec<Class>,
    pub ids: Vec<SampleId>,
}

impl Samples {
    /// Values in [0, 1]; a third of them on the ends of the range.
    pub fn random(net: &Net, n: usize, seed: u64) -> Self {
        let features = net.spec.features();
        let mut rng = SampleRng::new(seed, SampleId(0), "samples", 0);
        let images =
            Array2::from_shape_simple_fn((n, features), || (rng.uniform() * 1.5 - 0.25).clamp(0.0, 1.0) as f32);
        Self::labelled(net, images)
    }

    pub fn labelled(net: &Net, images: Array2<f32>) -> Self {
        let labels = images.rows().into_iter().map(|x| Class(argmax(&net.row(x)) as u32)).collect();
        let ids = (0..images.nrows() as u64).map(SampleId).collect();
        Self { images, labels, ids }
    }

    pub fn job<'a>(&'a self, classifier: &'a dyn Classifier, attack: &'a dyn Attack, threat: &'a Threat) -> Job<'a> {
        Job {
            classifier,
            attack,
            threat,
            goal: &Goal::Untargeted,
            images: self.images.view(),
            labels: &self.labels,
            ids: &self.ids,
            seed: 7,
            batch: NonZeroUsize::new(16).unwrap(),
            budget: Budget::default(),
            eight_bit: false,
            checks: false,
        }
    }

    pub fn attack(&self, classifier: &dyn Classifier, attack: &dyn Attack, threat: &Threat) -> Attacked {
        run(&self.job(classifier, attack, threat), &mut |_| {}, &Cancel::default()).unwrap()
    }
}

/// What an attack proposes for images of a shape whose classes nothing changes: for each evaluation a row for each image. Images
/// have the ids 0, 1, 2, ...
pub fn proposals(
    attack: &dyn Attack,
    shape: &[usize],
    images: &Array2<f32>,
    bounds: Bounds,
    seed: u64,
) -> Vec<Array2<f32>> {
    let net = Net::linear(shape, Array2::zeros((2, images.ncols())), vec![1.0, 0.0]);
    let samples = Samples::labelled(&net, images.clone());
    let seen = Mutex::new(Vec::new());
    let mut recording = Altered::new(&net);
    recording.logits = Box::new(|x, z| {
        seen.lock().unwrap().push(x.to_owned());
        Ok(z)
    });
    let threat = Threat { norm: Norm::Linf, eps: "inf".parse().unwrap(), bounds };
    let batch = NonZeroUsize::new(images.nrows()).unwrap();
    let job = Job { batch, seed, ..samples.job(&recording, attack, &threat) };
    let attacked = run(&job, &mut |_| {}, &Cancel::default()).unwrap();
    assert_eq!(attacked.count(Outcome::Robust), images.nrows());
    drop(recording);
    seen.into_inner().unwrap().split_off(1)
}

pub fn threat(norm: Norm, eps: &str) -> Threat {
    Threat { norm, eps: eps.parse().unwrap(), bounds: Bounds::new(0.0, 1.0).unwrap() }
}

fn argmax(z: &[f64]) -> usize {
    (0..z.len()).fold(0, |best, i| if z[i] as f32 > z[best] as f32 { i } else { best })
}

fn deviates(rows: usize, columns: usize, seed: u64) -> Array2<f32> {
    let mut values = vec![0.0; rows * columns];
    SampleRng::new(seed, SampleId(0), "weights", 0).fill_normal(&mut values);
    Array2::from_shape_vec((rows, columns), values).unwrap()
}

/// The offset inside the threat along which `v` rises most.
///
/// Maximum norm: every element for itself goes to one end. Euclidean norm: by the Karush-Kuhn-Tucker conditions the offset is
/// `clip(t v)` to the box, with the largest `t` whose length is at most eps. Sum of absolute changes:
/// elements go to the end of their room, those with the largest `|v|` first, until eps is spent. Number of elements: the most that so many
/// elements achieve at the end of their room.
pub fn furthest(threat: &Threat, x: &[f64], v: &[f64]) -> Vec<f64> {
    let eps = threat.eps.limit();
    let (low, high) = (f64::from(threat.bounds.low()), f64::from(threat.bounds.high()));
    let offsets = |t: f64| -> Vec<f64> { v.iter().zip(x).map(|(v, x)| (t * v).clamp(low - x, high - x)).collect() };
    let ends: Vec<f64> = v.iter().zip(x).map(|(v, x)| if *v > 0.0 { high - x } else { low - x }).collect();
    match threat.norm {
        Norm::Linf => v.iter().zip(x).map(|(v, x)| (eps * v.signum()).clamp(low - x, high - x)).collect(),
        Norm::L2 => {
            let length = |t: f64| offsets(t).iter().map(|d| d * d).sum::<f64>().sqrt();
            let (mut inside, mut outside) = (0.0, 1e6);
            for _ in 0..200 {
                let middle = 0.5 * (inside + outside);
                if length(middle) <= eps { inside = middle } else { outside = middle }
            }
            offsets(inside)
        }
        Norm::L1 => {
            let mut left = eps;
            in_turn(
                &ends,
                |i| v[i].abs(),
                |end| {
                    let length = end.abs().min(left);
                    left -= length;
                    length.copysign(end)
                },
            )
        }
        Norm::L0 => {
            let mut left = eps.floor();
            in_turn(
                &ends,
                |i| (v[i] * ends[i]).abs(),
                |end| {
                    left -= 1.0;
                    if left >= 0.0 { end } else { 0.0 }
                },
            )
        }
    }
}

/// Of a linear net, `z_k - z_j` at `x`, and its gradient.
fn difference(net: &Net, x: &[f64], k: usize, j: usize) -> (f64, Vec<f64>) {
    let z = affine(&net.weights, &net.bias, x);
    let v = (0..x.len()).map(|i| net.weights[[k, i]] - net.weights[[j, i]]).collect();
    (z[k] - z[j], v)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The largest margin `z_k - z_y` of any other class that a linear net can be given in the threat: negative iff robust.
pub fn exact_margin(net: &Net, threat: &Threat, x: ArrayView1<'_, f32>, label: Class) -> f64 {
    let x: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
    let rivals = (0..net.weights.nrows()).filter(|k| *k != label.index());
    rivals
        .map(|k| {
            let (gap, v) = difference(net, &x, k, label.index());
            gap + dot(&v, &furthest(threat, &x, &v))
        })
        .fold(f64::NEG_INFINITY, f64::max)
}

/// What each element goes of the way to its end, asked in the order of their gains.
fn in_turn(ends: &[f64], gain: impl Fn(usize) -> f64, mut go: impl FnMut(f64) -> f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..ends.len()).collect();
    order.sort_by(|a, b| gain(*b).total_cmp(&gain(*a)));
    let mut gone = vec![0.0; ends.len()];
    order.into_iter().for_each(|i| gone[i] = go(ends[i]));
    gone
}

/// Whether a linear net can be made to predict `target` in the threat, a convex one; nothing where that is too close to tell.
///
/// That is a game: who chooses the point wants all `z_t - z_j` above zero, who weighs the other classes the weighed mean below. The best
/// answer to any weights proves that it is not possible, if that does not suffice; the mean of such answers is a point of the threat, and
/// proves that it is possible, if it does. The weights follow the means of what was answered (Freund and Schapire, 1999).
pub fn reachable(net: &Net, threat: &Threat, x: ArrayView1<'_, f32>, target: Class) -> Option<bool> {
    let x: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
    let others = (0..net.weights.nrows()).filter(|k| *k != target.index());
    let others: Vec<_> = others.map(|j| difference(net, &x, target.index(), j)).collect();
    let scale = others.iter().map(|(_, v)| dot(v, &furthest(threat, &x, v))).fold(1e-12, f64::max);
    let mut gains = vec![0.0; others.len()];
    let mut mean = vec![0.0; x.len()];
    for round in 1..=4000 {
        // Later rounds count more.
        let share = 2.0 / (f64::from(round) + 1.0);
        let least = gains.iter().fold(f64::INFINITY, |a: f64, b| a.min(*b));
        let rate = 2.0 * f64::from(round).sqrt() / scale;
        let weights: Vec<f64> = gains.iter().map(|gain| (-rate * (gain - least)).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let mut v = vec![0.0; x.len()];
        let mut gap = 0.0;
        for (weight, (z, w)) in weights.iter().zip(&others) {
            gap += weight / sum * z;
            v.iter_mut().zip(w).for_each(|(v, w)| *v += weight / sum * w);
        }
        let answer = furthest(threat, &x, &v);
        if gap + dot(&v, &answer) < 0.0 {
            return Some(false);
        }
        mean.iter_mut().zip(&answer).for_each(|(m, a)| *m += share * (a - *m));
        if others.iter().all(|(z, w)| z + dot(w, &mean) > 0.0) {
            return Some(true);
        }
        for (gain, (z, w)) in gains.iter_mut().zip(&others) {
            *gain += share * (z + dot(w, &answer) - *gain);
        }
    }
    None
}

/// How far a point of the threat's norm must go to cross the boundary of a linear net.
pub fn exact_distance(net: &Net, norm: Norm, x: ArrayView1<'_, f32>, label: Class) -> f64 {
    let crosses = |eps: f64| exact_margin(net, &threat(norm, &format!("{eps:.9}")), x, label) > 0.0;
    let (mut inside, mut outside) = (0.0, 20.0);
    for _ in 0..40 {
        let middle = 0.5 * (inside + outside);
        if crosses(middle) { outside = middle } else { inside = middle }
    }
    outside
}

/// Nets and images whose numbers are a formula, on which the original AutoAttack was run.
pub mod toy {
    use super::*;

    /// `s <- 1664525 s + 1013904223 mod 2^32`, as `s / 2^32`, in binary32.
    fn uniform(seed: u32) -> impl FnMut() -> f64 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state) / 4_294_967_296.0
        }
    }

    fn centred(weights: &Array2<f64>, bias: &[f64]) -> Vec<f64> {
        weights.rows().into_iter().zip(bias).map(|(w, b)| b - 0.5 * w.sum()).collect()
    }

    fn single(value: f64) -> f64 {
        f64::from(value as f32)
    }

    pub fn linear() -> Net {
        let mut u = uniform(1);
        let weights = Array2::from_shape_simple_fn((10, 192), || single(u() - 0.5));
        let bias = centred(&weights, &[0.0; 10]);
        Net::linear(&[3, 8, 8], weights, bias)
    }

    pub fn mlp() -> Net {
        let mut u = uniform(2);
        let hidden = Array2::from_shape_simple_fn((48, 192), || single((u() - 0.5) * 0.5));
        let bias: Vec<f64> = (0..48).map(|_| single((u() - 0.5) * 0.5)).collect();
        let weights = Array2::from_shape_simple_fn((10, 48), || single(u() - 0.5));
        let bias = centred(&hidden, &bias);
        Net::mlp(&[3, 8, 8], (hidden, bias), weights, vec![0.0; 10])
    }

    pub fn samples(net: &Net) -> Samples {
        let mut u = uniform(3);
        Samples::labelled(net, Array2::from_shape_simple_fn((64, 192), || u() as f32))
    }
}
