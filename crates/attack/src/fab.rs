//! The fast adaptive boundary attack.

use std::sync::LazyLock;

use assay_graph::Loss;

use crate::param::{Choice, Integer, ParamKind};
use crate::registry::{Description, Entry};
use crate::shared::TARGETS;
use crate::{Attack, Cost, Halt, Keep, Norm, Samples, Start, Step, Threat};

/// How far a step goes beyond the boundary.
const OVERSHOOT: f32 = 1.05;
/// Largest share of the clean sample's own way to the boundary.
const MOST_BIAS: f64 = 0.1;
/// What is left of the way from the clean sample after going back from an adversarial point.
const BACK: f32 = 0.9;

/// The fast adaptive boundary attack (Croce and Hein, 2020) in its targeted form: towards one likely class after the other it follows the linearised
/// boundary, staying near the clean sample, and goes back a little whenever it is across. It looks for the nearest adversarial point; a find is one
/// inside the threat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fab {
    /// Steps for each class.
    pub steps: u32,
    /// Classes that are tried.
    pub targets: u32,
    /// Which adversarial sample is kept.
    pub keep: Keep,
}

const STEPS: Integer = Integer {
    name: "steps",
    default: 100,
    min: 1,
    max: 10_000,
    doc: "Steps for each class, one gradient and one forward evaluation each.",
};
const KEEP: Choice<Keep> = Choice {
    name: "keep",
    default: Keep::First,
    options: &[Keep::First, Keep::Nearest],
    word: Keep::name,
    kind: ParamKind::Choice,
    doc: "The adversarial sample that is kept: the first inside the threat, which ends the sample's attack, or of all the nearest.",
};

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "fab-t",
    summary: "Fast adaptive boundary attack towards one likely class after the other: looks for the nearest adversarial point.",
    source: "Croce, Hein: Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack, ICML 2020",
    norms: &[Norm::Linf, Norm::L2, Norm::L1],
    needs_gradient: true,
    needs_eps: false,
    parameters: vec![STEPS.param(), TARGETS.param(), KEEP.param()],
});

impl Fab {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            let (steps, targets) = (STEPS.read(arguments)?, TARGETS.read(arguments)?);
            Ok(Box::new(Self { steps, targets, keep: KEEP.read(arguments)? }))
        },
    };
}

impl Default for Fab {
    fn default() -> Self {
        Self { steps: STEPS.default, targets: TARGETS.default, keep: KEEP.default }
    }
}

impl Attack for Fab {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (STEPS.name, self.steps.to_string()),
            (TARGETS.name, self.targets.to_string()),
            (KEEP.name, self.keep.name().to_owned()),
        ]
    }

    fn evaluations(&self) -> u64 {
        2 * u64::from(self.targets) * u64::from(self.steps)
    }

    fn worst_case(&self) -> Cost {
        let half = self.evaluations() / 2;
        Cost { queries: half + 3, gradients: half }
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let threat = samples.threat();
        samples.keep(self.keep);
        samples.roam();
        let mut ways = Ways::new(samples.features());
        for target in 0..self.targets.min(samples.rivals()) {
            samples.start(target, Start::Image);
            let targets = samples.targets(target);
            for _ in 0..self.steps {
                samples.gradient_towards(Loss::MarginTargeted, &targets, |mut step| ways.advance(&mut step, threat))?;
                // Most steps lead across the boundary, where a gradient would be of no use.
                samples.query_each(|answer| {
                    if answer.margin < 0.0 {
                        for (p, x) in answer.point.iter_mut().zip(answer.x) {
                            *p = x + BACK * (*p - x);
                        }
                    }
                })?;
            }
        }
        Ok(())
    }
}

/// The ways to the linearised boundary, from the point and from the clean sample.
struct Ways {
    here: Vec<f32>,
    clean: Vec<f32>,
}

impl Ways {
    fn new(features: usize) -> Self {
        Self { here: vec![0.0; features], clean: vec![0.0; features] }
    }

    /// One step: to a weighted mean of where the two ways lead.
    fn advance(&mut self, step: &mut Step<'_>, threat: &Threat) {
        let gap = f64::from(step.loss);
        let apart = step.gradient.iter().zip(step.x.iter().zip(&*step.point));
        let gap_clean = gap + apart.map(|(w, (x, p))| f64::from(*w) * (f64::from(*x) - f64::from(*p))).sum::<f64>();
        threat.approach(step.point, step.gradient, gap, &mut self.here);
        threat.approach(step.x, step.gradient, gap_clean, &mut self.clean);
        let [here, clean] = [&self.here, &self.clean].map(|way| threat.length(way).max(1e-8));
        let bias = (here / (here + clean)).min(MOST_BIAS) as f32;
        let bounds = threat.bounds;
        for (((p, x), here), clean) in step.point.iter_mut().zip(step.x).zip(&self.here).zip(&self.clean) {
            let moved = (1.0 - bias) * (*p + OVERSHOOT * here) + bias * (x + OVERSHOOT * clean);
            *p = moved.clamp(bounds.low(), bounds.high());
        }
    }
}
