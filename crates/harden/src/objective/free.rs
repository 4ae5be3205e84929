//! Free adversarial training.

use assay_attack::Threat;
use assay_graph::{Criterion, Loss};
use assay_runtime::RunError;
use ndarray::{Array2, ArrayView2};

use super::{Attacker, Objective};
use crate::trainer::Batch;

/// Each batch is used several times, and the gradient by the input, which a step of training gives at no cost, perturbs it for the next
/// time (Shafahi et al., Adversarial Training for Free!, NeurIPS 2019). The perturbation is carried over to the next batch of the epoch.
#[derive(Clone, Debug)]
pub struct Free {
    threat: Threat,
    replays: u32,
    /// What is added to the samples, `[largest batch, features]`.
    delta: Array2<f32>,
}

impl Free {
    /// Perturbations of `threat`; each batch is used `replays` times.
    #[must_use]
    pub fn new(threat: Threat, replays: u32) -> Self {
        Self { threat, replays, delta: Array2::zeros((0, 0)) }
    }

    fn points(&self, samples: &ArrayView2<'_, f32>) -> Array2<f32> {
        let mut points = samples.to_owned();
        for (mut point, delta) in points.outer_iter_mut().zip(self.delta.outer_iter()) {
            point += &delta;
        }
        for (point, sample) in points.outer_iter_mut().zip(samples.outer_iter()) {
            if let (Some(point), Some(sample)) = (point.into_slice(), sample.to_slice()) {
                self.threat.project(sample, point);
            }
        }
        points
    }
}

impl Objective for Free {
    fn name(&self) -> &'static str {
        "free"
    }

    fn criterion(&self) -> &dyn Criterion {
        &Loss::CrossEntropy
    }

    fn views(&mut self, batch: &Batch<'_>, _: &mut Attacker<'_>) -> Result<Vec<Array2<f32>>, RunError> {
        Ok(vec![self.points(&batch.samples)])
    }

    fn begin_epoch(&mut self) {
        self.delta = Array2::zeros((0, 0));
    }

    fn replays(&self) -> u32 {
        self.replays
    }

    fn wants_gradient(&self) -> bool {
        true
    }

    fn observe(&mut self, batch: &Batch<'_>, gradient: ArrayView2<'_, f32>) {
        let (mut points, mut gradient) = (self.points(&batch.samples), gradient.to_owned());
        let length = self.threat.eps.down();
        let rows = points.outer_iter_mut().zip(gradient.outer_iter_mut()).zip(batch.samples.outer_iter());
        for ((point, gradient), sample) in rows {
            if let (Some(point), Some(gradient), Some(sample)) =
                (point.into_slice(), gradient.into_slice(), sample.to_slice())
                && gradient.iter().all(|g| g.is_finite())
            {
                self.threat.climb(sample, gradient, length, point);
            }
        }
        points -= &batch.samples;
        self.delta = points;
    }
}
