//! The fast minimum-norm attack.

use std::sync::LazyLock;

use assay_graph::Loss;

use crate::decay::cosine;
use crate::param::Integer;
use crate::registry::{Description, Entry};
use crate::shared::KEEP_NEAREST;
use crate::{Attack, Halt, Keep, Norm, Samples, Start, Step, Threat};

/// First and last share by which the radius grows or shrinks.
const RADIUS_CHANGE: (f64, f64) = (0.05, 0.001);

/// The fast minimum-norm attack (Pintor et al., 2021): steps along the gradient of the margin, inside a ball that shrinks where the
/// point is adversarial and grows where it is not, until it ends at the distance of the boundary. In L0 it is a whole number of elements.
///
/// A find is a point inside the threat; with a large eps, the distance that is reported is an estimate of the sample's robustness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fmn {
    /// Steps, one gradient each.
    pub steps: u32,
    /// Which adversarial sample is kept.
    pub keep: Keep,
}

const STEPS: Integer = Integer { name: "steps", default: 100, min: 1, max: 10_000, doc: "Steps, one gradient each." };

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "fmn",
    summary: "Fast minimum-norm attack: the nearest adversarial point, by a ball that shrinks and grows around the sample.",
    source: "Pintor, Roli, Brendel, Biggio: Fast Minimum-norm Adversarial Attacks through Adaptive Norm Constraints, NeurIPS 2021",
    norms: &Norm::ALL,
    needs_gradient: true,
    needs_eps: false,
    parameters: vec![STEPS.param(), KEEP_NEAREST.param()],
});

impl Fmn {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| Ok(Box::new(Self { steps: STEPS.read(arguments)?, keep: KEEP_NEAREST.read(arguments)? })),
    };
}

impl Default for Fmn {
    fn default() -> Self {
        Self { steps: STEPS.default, keep: KEEP_NEAREST.default }
    }
}

impl Attack for Fmn {
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
        let (first_step, last_step) = step_lengths(threat.norm);
        samples.keep(self.keep);
        samples.roam();
        samples.start(0, Start::Image);
        let mut balls = vec![Ball::default(); samples.len()];
        for taken in 0..self.steps {
            let length = cosine(first_step, last_step, taken, self.steps);
            let change = cosine(RADIUS_CHANGE.0, RADIUS_CHANGE.1, taken, self.steps);
            samples.gradient(Loss::Margin, |mut step| {
                let radius = balls[step.sample].next(&step, threat, change);
                let scale = length / step.gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
                step.advance(scale as f32);
                threat.project_within(step.x, radius, step.point);
            })?;
        }
        samples.query()
    }
}

/// First and last length of a step, in the Euclidean norm whatever that of the ball: those of the maximum norm and of few elements are wider
/// by far. In L0 a step that is short beside the room of an element brings no other element into the ball, so that steps stay long.
fn step_lengths(norm: Norm) -> (f64, f64) {
    match norm {
        Norm::Linf => (10.0, 0.1),
        Norm::L2 | Norm::L1 => (1.0, 0.01),
        Norm::L0 => (10.0, 3.0),
    }
}

/// The ball of one sample.
#[derive(Clone, Copy, Default)]
struct Ball {
    radius: f64,
    /// Distance of the nearest adversarial point so far.
    nearest: Option<f64>,
}

impl Ball {
    /// The radius for the next point. Before the first adversarial one it is the distance of the boundary, if that were a plane.
    fn next(&mut self, step: &Step<'_>, threat: &Threat, change: f64) -> f64 {
        let distance = threat.distance(step.x, step.point);
        self.radius = match (step.adversarial, self.nearest) {
            (true, before) => {
                let nearest = before.map_or(distance, |before| before.min(distance));
                self.nearest = Some(nearest);
                let radius = if before.is_none() { distance } else { self.radius };
                threat.resized(radius, 1.0 - change).min(nearest)
            }
            (false, Some(_)) => threat.resized(self.radius, 1.0 + change),
            // On the boundary itself nothing is adversarial.
            (false, None) => {
                let gap = f64::from(step.loss.abs());
                threat.resized(threat.detour(step.x, step.point, step.gradient, -gap), 1.0 + change)
            }
        };
        self.radius
    }
}
