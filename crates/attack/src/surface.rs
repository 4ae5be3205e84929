//! Accuracy over two axes: how far inputs may be changed, and how far weights.

use std::num::NonZeroU32;

use assay_runtime::{Cancel, Class, RunError, Weighed, Weighted};
use ndarray::{Array2, ArrayD, ArrayView2};

use crate::samples::predicted;
use crate::{AttackError, Bounds, Cost, Eps, Norm, SampleId, SampleRng, Threat};

/// A grid of radii to measure accuracy on.
#[derive(Clone, Copy)]
pub struct SurfaceJob<'a> {
    /// The model, its weights as arguments.
    pub model: &'a dyn Weighted,
    /// Clean samples, `[n, features]`: finite and inside the bounds.
    pub images: ArrayView2<'a, f32>,
    /// True class of each sample.
    pub labels: &'a [Class],
    /// Identity of each sample, all different.
    pub ids: &'a [SampleId],
    /// Norm of changes of inputs.
    pub norm: Norm,
    /// Range of valid inputs.
    pub bounds: Bounds,
    /// How far inputs may be changed, rising; 0 is not at all.
    pub eps: &'a [Eps],
    /// How far each weight tensor may be changed, as a share of its Euclidean length, rising; 0 is not at all.
    pub radii: &'a [f64],
    /// Steps of each ascent, one gradient of every sample each.
    pub steps: NonZeroU32,
    /// Random changes of the weights that are tried for each radius.
    pub draws: u32,
    /// Seed of all randomness.
    pub seed: u64,
}

/// Accuracy under changes of inputs and weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Surface {
    /// Samples that are still classified correctly, `[eps, radii]`. Falls along both axes: what one cell's adversary may do, that of a further one may too.
    pub correct: Array2<u64>,
    /// The fewest that the random changes of the weights leave, for each radius; the inputs are as they are.
    pub random: Vec<u64>,
    /// What was spent, over all samples.
    pub cost: Cost,
    /// Names of the weight tensors that were changed: those with two dimensions at least.
    pub weights: Vec<String>,
}

/// Measures the surface.
///
/// The weights are changed for all samples at once, each tensor `w` within `radius * |w|_2` of the file's, along the gradient of the summed cross-entropy:
/// the rule of adversarial weight perturbation (Wu, Xia, Wang: Adversarial Weight Perturbation Helps Robust Generalization, NeurIPS 2020), in several steps. Inputs
/// and weights take turns; then the weights that left the fewest correct stay, and every input is attacked with them. A sample is lost if a second
/// evaluation agrees.
///
/// Batch norms are frozen. `observer` is told how many of how many cells are done.
///
/// # Errors
/// The job is not valid; the model failed, answered with numbers that are not finite, or the run was cancelled.
pub fn surface(
    job: &SurfaceJob<'_>,
    observer: &mut dyn FnMut(u64, u64),
    cancel: &Cancel,
) -> Result<Surface, AttackError> {
    validate(job).map_err(AttackError::Invalid)?;
    let mut run = Run::new(*job, cancel);
    let cells = (job.eps.len() * job.radii.len()) as u64;
    let mut correct: Array2<u64> = Array2::zeros((job.eps.len(), job.radii.len()));
    for (i, eps) in job.eps.iter().enumerate() {
        let threat = Threat { norm: job.norm, eps: eps.clone(), bounds: job.bounds };
        for (j, &radius) in job.radii.iter().enumerate() {
            observer((i * job.radii.len() + j) as u64, cells);
            let own = run.cell(&threat, radius)?;
            let before = [i.checked_sub(1).map(|i| correct[[i, j]]), j.checked_sub(1).map(|j| correct[[i, j]])];
            correct[[i, j]] = before.into_iter().flatten().fold(own, u64::min);
        }
    }
    let random = job.radii.iter().map(|&radius| run.random(radius)).collect::<Result<_, _>>()?;
    observer(cells, cells);
    let weights = run.moved.iter().map(|&k| job.model.weights()[k].name.clone()).collect();
    Ok(Surface { correct, random, cost: run.cost, weights })
}

fn validate(job: &SurfaceJob<'_>) -> Result<(), String> {
    let (spec, n) = (job.model.spec(), job.images.nrows());
    if job.images.ncols() != spec.features() || job.labels.len() != n || job.ids.len() != n || n == 0 {
        return Err(format!(
            "{n} samples of {} elements, {} labels and {} ids: expected at least one sample, a label and an id for each, and {} elements",
            job.images.ncols(),
            job.labels.len(),
            job.ids.len(),
            spec.features()
        ));
    }
    if let Some(label) = job.labels.iter().find(|label| label.index() >= spec.classes) {
        return Err(format!("label {label} is out of range: the model has {} classes, counted from 0", spec.classes));
    }
    if let Some(value) = job.images.iter().find(|value| !job.bounds.contain(**value)) {
        let (low, high) = (job.bounds.low(), job.bounds.high());
        return Err(format!("the samples contain {value}: expected numbers in the input range [{low}, {high}]"));
    }
    if job.norm == Norm::L0 {
        return Err("eps in L0 has no gradient ascent: expected Linf, L2 or L1".to_owned());
    }
    let limits: Vec<f64> = job.eps.iter().map(Eps::limit).collect();
    for (what, axis) in [("eps", &limits[..]), ("radii", job.radii)] {
        let rises = axis.windows(2).all(|pair| pair[0] < pair[1]);
        if axis.is_empty() || !rises || axis.iter().any(|v| !v.is_finite() || *v < 0.0) {
            return Err(format!(
                "{what} are {axis:?}: expected at least one, finite, from 0, each larger than the one before"
            ));
        }
    }
    if !job.model.weights().iter().any(|w| w.values.ndim() > 1) {
        return Err("the model has no weight of two dimensions or more".to_owned());
    }
    Ok(())
}

/// A surface that is being measured.
struct Run<'j, 'c> {
    job: SurfaceJob<'j>,
    cancel: &'c Cancel,
    /// The weights as the file has them.
    file: Vec<ArrayD<f32>>,
    /// Which of them may be changed, and how long they are.
    moved: Vec<usize>,
    lengths: Vec<f64>,
    cost: Cost,
}

impl<'j, 'c> Run<'j, 'c> {
    fn new(job: SurfaceJob<'j>, cancel: &'c Cancel) -> Self {
        let file: Vec<ArrayD<f32>> = job.model.weights().iter().map(|w| w.values.clone()).collect();
        let moved: Vec<usize> = (0..file.len()).filter(|&k| file[k].ndim() > 1).collect();
        let lengths = file.iter().map(length).collect();
        Self { job, cancel, file, moved, lengths, cost: Cost::default() }
    }

    /// Samples that are correct at the worst inputs and weights that are found.
    fn cell(&mut self, threat: &Threat, radius: f64) -> Result<u64, AttackError> {
        let weights = if radius > 0.0 { self.worst_weights(threat, radius)? } else { self.file.clone() };
        self.worst_inputs(threat, &weights)
    }

    /// Of the weights that an ascent passes, with inputs that follow it, those that leave the fewest correct; of equal ones the first.
    fn worst_weights(&mut self, threat: &Threat, radius: f64) -> Result<Vec<ArrayD<f32>>, AttackError> {
        let mut points = self.starts(threat, "surface/weights");
        let mut weights = self.file.clone();
        let (mut fewest, mut worst) = (u64::MAX, self.file.clone());
        for step in 0..=self.job.steps.get() {
            let at = self.step(&points, &weights)?;
            let correct = self.wrong(&at)?.iter().filter(|wrong| !**wrong).count() as u64;
            if correct < fewest {
                (fewest, worst) = (correct, weights.clone());
            }
            if step < self.job.steps.get() {
                self.climb_inputs(threat, at.gradient, &mut points);
                self.climb_weights(radius, &at.by_weights, &mut weights);
            }
        }
        Ok(worst)
    }

    /// Samples that withstand gradient ascent on them alone, with these weights. One that is lost stays where it was misclassified, to be asked again.
    fn worst_inputs(&mut self, threat: &Threat, weights: &[ArrayD<f32>]) -> Result<u64, AttackError> {
        let mut points = self.job.images.to_owned();
        let steps = if threat.eps.limit() > 0.0 { self.job.steps.get() } else { 0 };
        let mut lost = vec![false; points.nrows()];
        for step in 0..=steps {
            let at = self.step(&points, weights)?;
            for (lost, wrong) in lost.iter_mut().zip(self.wrong(&at)?) {
                *lost |= wrong;
            }
            if step < steps {
                let mut next = points.clone();
                if step == 0 {
                    // The image itself was looked at; the ascent begins beside it.
                    next = self.starts(threat, "surface/inputs");
                } else {
                    self.climb_inputs(threat, at.gradient, &mut next);
                }
                for (i, (mut point, next)) in points.rows_mut().into_iter().zip(next.rows()).enumerate() {
                    if !lost[i] {
                        point.assign(&next);
                    }
                }
            }
        }
        let again = self.step(&points, weights)?;
        let held = self.wrong(&again)?.into_iter().zip(lost).filter(|(again, lost)| *again && *lost).count();
        Ok((points.nrows() - held) as u64)
    }

    /// The fewest samples that random changes of this size leave correct.
    fn random(&mut self, radius: f64) -> Result<u64, AttackError> {
        let points = self.job.images.to_owned();
        let mut fewest = self.job.images.nrows() as u64;
        for draw in 0..if radius > 0.0 { self.job.draws.max(1) } else { 1 } {
            let mut weights = self.file.clone();
            for &k in &self.moved {
                let mut rng = SampleRng::new(self.job.seed, SampleId(k as u64), "surface/random", draw);
                let mut direction = vec![0.0; weights[k].len()];
                rng.fill_normal(&mut direction);
                let scale = radius * self.lengths[k] / norm(direction.iter()).max(f64::MIN_POSITIVE);
                for (w, d) in weights[k].iter_mut().zip(direction) {
                    *w = (f64::from(*w) + scale * f64::from(d)) as f32;
                }
            }
            let at = self.step(&points, &weights)?;
            fewest = fewest.min(self.wrong(&at)?.iter().filter(|wrong| !**wrong).count() as u64);
        }
        Ok(fewest)
    }

    /// A random point of the threat for each sample.
    fn starts(&self, threat: &Threat, stream: &str) -> Array2<f32> {
        let mut points = self.job.images.to_owned();
        if threat.eps.limit() > 0.0 {
            for (mut point, id) in points.rows_mut().into_iter().zip(self.job.ids) {
                let mut rng = SampleRng::new(self.job.seed, *id, stream, 0);
                let x = point.to_vec();
                let mut start = x.clone();
                threat.start(&x, &mut rng, &mut start);
                point.assign(&ndarray::aview1(&start));
            }
        }
        points
    }

    fn climb_inputs(&self, threat: &Threat, mut gradient: Array2<f32>, points: &mut Array2<f32>) {
        let eps = threat.eps.limit();
        if eps == 0.0 {
            return;
        }
        let step = (2.5 * eps / f64::from(self.job.steps.get())) as f32;
        for ((x, mut g), mut point) in
            self.job.images.rows().into_iter().zip(gradient.rows_mut()).zip(points.rows_mut())
        {
            let x = x.to_vec();
            if let (Some(g), Some(point)) = (g.as_slice_mut(), point.as_slice_mut()) {
                threat.climb(&x, g, step, point);
            }
        }
    }

    /// Moves each tensor along its gradient, and back to its ball around the file's.
    fn climb_weights(&self, radius: f64, gradients: &[ArrayD<f32>], weights: &mut [ArrayD<f32>]) {
        let share = (2.5 / f64::from(self.job.steps.get())).min(1.0);
        for &k in &self.moved {
            let (ball, along) = (radius * self.lengths[k], length(&gradients[k]));
            if along == 0.0 {
                continue;
            }
            let scale = share * ball / along;
            for (w, g) in weights[k].iter_mut().zip(&gradients[k]) {
                *w = (f64::from(*w) + scale * f64::from(*g)) as f32;
            }
            let offset = (&weights[k] - &self.file[k]).iter().map(|d| f64::from(*d).powi(2)).sum::<f64>().sqrt();
            if offset > ball {
                let back = ball / offset;
                ndarray::Zip::from(&mut weights[k])
                    .and(&self.file[k])
                    .for_each(|w, file| *w = (f64::from(*file) + back * (f64::from(*w) - f64::from(*file))) as f32);
            }
        }
    }

    fn step(&mut self, points: &Array2<f32>, weights: &[ArrayD<f32>]) -> Result<Weighed, AttackError> {
        if self.cancel.is_cancelled() {
            return Err(RunError::Cancelled.into());
        }
        self.cost.gradients += points.nrows() as u64;
        let at = self.job.model.step(points.view(), self.job.labels, weights, self.cancel)?;
        let finite = at.gradient.iter().chain(at.by_weights.iter().flatten()).all(|g| g.is_finite());
        if finite { Ok(at) } else { Err(not_finite("a gradient")) }
    }

    /// Which samples are misclassified.
    fn wrong(&self, at: &Weighed) -> Result<Vec<bool>, AttackError> {
        let wrong = |(logits, label): (ndarray::ArrayView1<'_, f32>, &Class)| {
            predicted(&logits).map(|class| class != *label).ok_or_else(|| not_finite("a logit"))
        };
        at.logits.rows().into_iter().zip(self.job.labels).map(wrong).collect()
    }
}

fn not_finite(what: &str) -> AttackError {
    AttackError::Model(RunError::Runtime(format!("{what} is not finite; choose smaller radii, or look at the model")))
}

fn length(values: &ArrayD<f32>) -> f64 {
    norm(values.iter())
}

fn norm<'v>(values: impl Iterator<Item = &'v f32>) -> f64 {
    values.map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
}
