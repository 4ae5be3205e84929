//! Which of a model's boundaries is nearest, as if the model were linear.

use assay_graph::Loss;
use assay_runtime::Class;

use crate::rows::Rows;
use crate::{Halt, Samples, Step, Threat};

/// What becomes of a sample whose point is adversarial already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Across {
    GoesOn,
    Rests,
}

/// The boundaries between each sample's label and other classes.
pub(crate) struct Boundaries {
    /// For each boundary the class behind it, of every sample of the job.
    classes: Vec<Vec<Class>>,
    nearest: Nearest,
}

impl Boundaries {
    /// Those to the classes that are likeliest for the clean sample, at most so many; with a target, that to the target alone.
    pub(crate) fn new(samples: &Samples<'_>, classes: u32) -> Self {
        let classes = (0..classes.min(samples.rivals())).map(|rank| samples.targets(rank)).collect();
        Self { classes, nearest: Nearest::new(samples) }
    }

    /// Evaluates the points of all samples under attack with one gradient for each boundary, and hands them to `next` with that of the nearest: the margin
    /// by which the class behind it exceeds the label.
    pub(crate) fn nearest(
        &mut self,
        samples: &mut Samples<'_>,
        across: Across,
        mut next: impl FnMut(Step<'_>),
    ) -> Result<(), Halt> {
        let (threat, last) = (samples.threat(), self.classes.len());
        let mut resting = Vec::new();
        for (classes, number) in self.classes.iter().zip(1..) {
            samples.gradient_towards(Loss::MarginTargeted, classes, |mut step| {
                if step.adversarial && across == Across::Rests {
                    resting.push(step.sample);
                    return;
                }
                self.nearest.look(&step, threat, number == 1);
                if number == last {
                    self.nearest.hand_over(&mut step);
                    next(step);
                }
            })?;
            for sample in resting.drain(..) {
                samples.rest(sample);
            }
        }
        Ok(())
    }
}

/// Of each sample the nearest boundary of those that were looked at: its distance from the point, and margin and gradient there.
struct Nearest {
    distances: Vec<f64>,
    margins: Vec<f32>,
    gradients: Rows,
}

impl Nearest {
    fn new(samples: &Samples<'_>) -> Self {
        let n = samples.len();
        Self { distances: vec![0.0; n], margins: vec![0.0; n], gradients: Rows::zeros(samples) }
    }

    fn look(&mut self, step: &Step<'_>, threat: &Threat, first: bool) {
        let distance = f64::from(step.loss.abs()) / threat.dual_length(step.gradient);
        if first || distance < self.distances[step.sample] {
            self.distances[step.sample] = distance;
            self.margins[step.sample] = step.loss;
            self.gradients.row(step.sample).copy_from_slice(step.gradient);
        }
    }

    fn hand_over(&mut self, step: &mut Step<'_>) {
        step.loss = self.margins[step.sample];
        step.gradient.copy_from_slice(self.gradients.row(step.sample));
    }
}
