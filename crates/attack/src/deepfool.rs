//! DeepFool: to the nearest of the linearised boundaries, again and again.

use std::sync::LazyLock;

use crate::boundaries::{Across, Boundaries};
use crate::param::{Decimal, Integer};
use crate::registry::{Description, Entry};
use crate::rows::Rows;
use crate::shared::{KEEP_NEAREST, TARGETS};
use crate::{Attack, Halt, Keep, Norm, Samples, Start, Step, Threat};

/// Shortest step, in widths of the range of valid inputs: a boundary that the point lies on is left too.
const LEAST: f64 = 1e-6;
/// Longest step, likewise: the gradient may be as small as it likes.
const MOST: f64 = 1e3;

/// DeepFool (Moosavi-Dezfooli et al., 2016): as if the model were linear, each step goes to the nearest of its boundaries, until one is crossed.
///
/// It is over after few steps, and finds points that are near, not the nearest: for those there are [`Ddn`](crate::Ddn), [`Fmn`](crate::Fmn) and
/// [`CarliniWagner`](crate::CarliniWagner). A find is a point inside the threat.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeepFool {
    /// Most steps.
    pub steps: u32,
    /// Classes whose boundaries are looked at.
    pub targets: u32,
    /// How far the point goes beyond where the steps lead, as a share of the whole way.
    pub overshoot: f32,
    /// Which adversarial sample is kept.
    pub keep: Keep,
}

const STEPS: Integer = Integer {
    name: "steps",
    default: 50,
    min: 1,
    max: 10_000,
    doc: "Most steps; a step costs one gradient for each class that is looked at.",
};
const OVERSHOOT: Decimal = Decimal {
    name: "overshoot",
    default: 0.02,
    min: 0.0,
    max: 10.0,
    doc: "How far the point goes beyond where the steps lead, as a share of the whole way.",
};

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "deepfool",
    summary: "DeepFool: goes to the nearest linearised boundary until one is crossed; quick, and near rather than nearest.",
    source: "Moosavi-Dezfooli, Fawzi, Frossard: DeepFool: A Simple and Accurate Method to Fool Deep Neural Networks, CVPR 2016",
    norms: &[Norm::Linf, Norm::L2],
    needs_gradient: true,
    needs_eps: false,
    parameters: vec![STEPS.param(), TARGETS.param(), OVERSHOOT.param(), KEEP_NEAREST.param()],
});

impl DeepFool {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            Ok(Box::new(Self {
                steps: STEPS.read(arguments)?,
                targets: TARGETS.read(arguments)?,
                overshoot: OVERSHOOT.read(arguments)?,
                keep: KEEP_NEAREST.read(arguments)?,
            }))
        },
    };
}

impl Default for DeepFool {
    fn default() -> Self {
        Self {
            steps: STEPS.default,
            targets: TARGETS.default,
            overshoot: OVERSHOOT.default,
            keep: KEEP_NEAREST.default,
        }
    }
}

impl Attack for DeepFool {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (STEPS.name, self.steps.to_string()),
            (TARGETS.name, self.targets.to_string()),
            (OVERSHOOT.name, self.overshoot.to_string()),
            (KEEP_NEAREST.name, self.keep.name().to_owned()),
        ]
    }

    fn evaluations(&self) -> u64 {
        u64::from(self.steps) * u64::from(self.targets) + 1
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let threat = samples.threat();
        let mut boundaries = Boundaries::new(samples, self.targets);
        let mut ways = Rows::zeros(samples);
        samples.keep(self.keep);
        samples.roam();
        samples.start(0, Start::Image);
        for _ in 0..self.steps {
            boundaries.nearest(samples, Across::Rests, |mut step| {
                let way = ways.row(step.sample);
                extend(way, &mut step, threat);
                for ((p, x), way) in step.point.iter_mut().zip(step.x).zip(way) {
                    *p = (x + (1.0 + self.overshoot) * *way).clamp(threat.bounds.low(), threat.bounds.high());
                }
            })?;
        }
        samples.query()
    }
}

/// Adds the way to the boundary of a step to `way`.
fn extend(way: &mut [f32], step: &mut Step<'_>, threat: &Threat) {
    let width = f64::from(threat.bounds.high()) - f64::from(threat.bounds.low());
    let distance = f64::from(step.loss.abs()) / threat.dual_length(step.gradient);
    let length = distance.clamp(LEAST * width, MOST * width) as f32;
    threat.steepest(step.gradient);
    for (way, direction) in way.iter_mut().zip(&*step.gradient) {
        *way += length * direction;
    }
}
