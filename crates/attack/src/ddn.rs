//! Decoupled direction and norm.

use std::sync::LazyLock;

use assay_graph::Loss;

use crate::decay::cosine;
use crate::param::Integer;
use crate::registry::{Description, Entry};
use crate::shared::KEEP_NEAREST;
use crate::{Attack, Halt, Keep, Norm, Samples, Start};

/// First and last length of a step.
const STEP: (f64, f64) = (1.0, 0.01);
/// Share by which the radius grows or shrinks.
const CHANGE: f64 = 0.05;

/// Decoupled direction and norm (Rony et al., 2019): the gradient of the cross-entropy turns the perturbation, and its length falls by a twentieth where the
/// point is adversarial and rises by a twentieth where it is not.
///
/// A find is a point inside the threat; with a large eps, the distance that is reported is an estimate of the sample's robustness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ddn {
    /// Steps, one gradient each.
    pub steps: u32,
    /// Which adversarial sample is kept.
    pub keep: Keep,
}

const STEPS: Integer = Integer { name: "steps", default: 100, min: 1, max: 10_000, doc: "Steps, one gradient each." };

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "ddn",
    summary: "Decoupled direction and norm: the nearest adversarial point in L2, turning and scaling the perturbation apart.",
    source: "Rony, Hafemann, Oliveira, Ben Ayed, Sabourin, Granger: Decoupling Direction and Norm for Efficient Gradient-based L2 Adversarial Attacks and Defenses, CVPR 2019",
    norms: &[Norm::L2],
    needs_gradient: true,
    needs_eps: false,
    parameters: vec![STEPS.param(), KEEP_NEAREST.param()],
});

impl Ddn {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| Ok(Box::new(Self { steps: STEPS.read(arguments)?, keep: KEEP_NEAREST.read(arguments)? })),
    };
}

impl Default for Ddn {
    fn default() -> Self {
        Self { steps: STEPS.default, keep: KEEP_NEAREST.default }
    }
}

impl Attack for Ddn {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![(STEPS.name, self.steps.to_string()), (KEEP_NEAREST.name, self.keep.name().to_owned())]
    }

    fn evaluations(&self) -> u64 {
        u64::from(self.steps) + 1
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let threat = samples.threat();
        samples.keep(self.keep);
        samples.roam();
        samples.start(0, Start::Image);
        let mut radii = vec![1.0; samples.len()];
        for taken in 0..self.steps {
            let length = cosine(STEP.0, STEP.1, taken, self.steps);
            samples.gradient(Loss::CrossEntropy, |mut step| {
                let radius = &mut radii[step.sample];
                *radius *= if step.adversarial { 1.0 - CHANGE } else { 1.0 + CHANGE };
                threat.steepest(step.gradient);
                step.advance(length as f32);
                let scale = *radius / threat.distance(step.x, step.point).max(1e-12);
                for (p, x) in step.point.iter_mut().zip(step.x) {
                    let moved = f64::from(*x) + scale * (f64::from(*p) - f64::from(*x));
                    *p = (moved as f32).clamp(threat.bounds.low(), threat.bounds.high());
                }
            })?;
        }
        samples.query()
    }
}
