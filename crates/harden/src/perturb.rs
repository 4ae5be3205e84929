//! The inner maximisation of adversarial training: a few steps up a loss, for a whole batch, without looking who has fallen.

use assay_attack::{SampleId, SampleRng, Threat};
use assay_graph::Loss;
use assay_runtime::{Class, Classifier, RunError};
use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

/// How samples are perturbed.
#[derive(Clone, Debug, PartialEq)]
pub struct Perturbation {
    /// Where the perturbed samples may lie.
    pub threat: Threat,
    /// Steps.
    pub steps: u32,
    /// Length of a step, in the threat's norm.
    pub length: f32,
    /// Where the steps begin.
    pub begin: Begin,
    /// What they climb.
    pub climb: Climb,
}

/// Where a perturbation begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Begin {
    /// At the sample.
    Sample,
    /// At a point drawn uniformly from the threat.
    Uniform,
    /// At the sample plus normal noise of this deviation, as TRADES does.
    Normal(f32),
}

/// What a perturbation climbs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Climb {
    /// The cross-entropy at the label.
    #[default]
    CrossEntropy,
    /// The divergence `KL(p(x) ‖ p(x'))` of the prediction from that of the sample.
    Divergence,
}

/// Whose stream a perturbation draws from: the same for any batch that a sample is in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub(crate) seed: u64,
    pub(crate) epoch: u32,
}

impl Perturbation {
    /// The perturbed `x`, `[n, features]`.
    pub(crate) fn run(
        &self,
        model: &dyn Classifier,
        x: &ArrayView2<'_, f32>,
        labels: &[Class],
        ids: &[SampleId],
        stream: Stream,
    ) -> Result<Array2<f32>, RunError> {
        let mut points = x.to_owned();
        if self.begin != Begin::Sample {
            for ((point, sample), id) in points.outer_iter_mut().zip(x.outer_iter()).zip(ids) {
                let mut rng = SampleRng::new(stream.seed, *id, "train", stream.epoch);
                let (Some(point), Some(sample)) = (point.into_slice(), sample.to_slice()) else { continue };
                self.start(sample, &mut rng, point);
            }
        }
        let reference = match self.climb {
            Climb::CrossEntropy => None,
            Climb::Divergence => Some(probabilities(model.logits(x.view())?)),
        };
        for _ in 0..self.steps {
            let mut gradient = match &reference {
                None => model.gradient(points.view(), Loss::CrossEntropy, labels, None)?.gradient,
                // d KL(p ‖ q) / dz' = q - p, for the logits z' of q.
                Some(p) => {
                    let cotangent = probabilities(model.logits(points.view())?) - p;
                    model.vjp(points.view(), cotangent.view())?.gradient
                }
            };
            for ((point, sample), gradient) in
                points.outer_iter_mut().zip(x.outer_iter()).zip(gradient.outer_iter_mut())
            {
                let (Some(point), Some(sample), Some(gradient)) =
                    (point.into_slice(), sample.to_slice(), gradient.into_slice())
                else {
                    continue;
                };
                // A gradient that is not finite leads nowhere; that the loss is not is seen by the step.
                if gradient.iter().all(|g| g.is_finite()) {
                    self.threat.climb(sample, gradient, self.length, point);
                }
            }
        }
        Ok(points)
    }

    fn start(&self, sample: &[f32], rng: &mut SampleRng, point: &mut [f32]) {
        match self.begin {
            Begin::Sample => {}
            Begin::Uniform => self.threat.start(sample, rng, point),
            Begin::Normal(deviation) => {
                rng.fill_normal(point);
                point.iter_mut().zip(sample).for_each(|(p, x)| *p = x + deviation * *p);
                self.threat.project(sample, point);
            }
        }
    }
}

/// Softmax of each row.
pub(crate) fn probabilities(mut logits: Array2<f32>) -> Array2<f32> {
    for mut row in logits.axis_iter_mut(Axis(0)) {
        let most = row.fold(f32::NEG_INFINITY, |most, &z| most.max(z));
        row.mapv_inplace(|z| (z - most).exp());
        let sum = row.sum();
        row /= sum;
    }
    logits
}

/// The class with the largest logit; of equal ones the first.
pub(crate) fn predicted(row: &ArrayView1<'_, f32>) -> usize {
    row.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (i, &z)| if z > best.1 { (i, z) } else { best }).0
}
