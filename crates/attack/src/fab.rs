//! The fast adaptive boundary attack.

use std::sync::LazyLock;

use assay_graph::Loss;

use crate::boundaries::{Across, Boundaries};
use crate::param::{Choice, Integer, ParamKind};
use crate::registry::{Description, Entry};
use crate::shared::{RESTARTS, TARGETS};
use crate::{Attack, Cost, Halt, Keep, Norm, Samples, Start, Step, Threat};

/// How far a step goes beyond the boundary.
const OVERSHOOT: f32 = 1.05;
/// Largest share of the clean sample's own way to the boundary.
const MOST_BIAS: f64 = 0.1;
/// What is left of the way from the clean sample after going back from an adversarial point.
const BACK: f32 = 0.9;
/// How far from the clean sample a restart begins at most, as a share of eps or of the distance at which an adversarial point was found.
const RESTART: f64 = 0.5;

/// The fast adaptive boundary attack (Croce and Hein, 2020): it follows the nearest of the linearised boundaries, staying near the clean sample, and goes
/// back a little whenever it is across. It looks for the nearest adversarial point; a find is one inside the threat.
///
/// The original looks at the boundaries of all classes, which are those of the default for models of up to ten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fab {
    /// Steps of each restart.
    pub steps: u32,
    /// Classes whose boundaries are looked at.
    pub targets: u32,
    /// Starting points that are tried one after the other: the clean sample, then random points near it.
    pub restarts: u32,
    /// Which adversarial sample is kept.
    pub keep: Keep,
}

/// [`Fab`] towards one likely class after the other. Any misclassification counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FabTargeted {
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
    doc: "Steps of each restart, one forward evaluation each, and one gradient for each class.",
};
const LOOKED_AT: Integer = Integer {
    doc: "Classes whose boundaries are looked at in each step, the most likely for the clean sample first; no more than the model has besides the label.",
    ..TARGETS
};
const STARTS: Integer = Integer {
    doc: "Starting points that are tried one after the other: the clean sample, then random points half as far from it as eps, or as what was found.",
    ..RESTARTS
};
const TARGETED_STEPS: Integer =
    Integer { doc: "Steps for each class, one gradient and one forward evaluation each.", ..STEPS };
const KEEP: Choice<Keep> = Choice {
    name: "keep",
    default: Keep::First,
    options: &[Keep::First, Keep::Nearest],
    word: Keep::name,
    kind: ParamKind::Choice,
    doc: "The adversarial sample that is kept: the first inside the threat, which ends the sample's attack, or of all the nearest.",
};

const SOURCE: &str =
    "Croce, Hein: Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack, ICML 2020";

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "fab",
    summary: "Fast adaptive boundary attack on the nearest boundary of all likely classes: looks for the nearest adversarial point.",
    source: SOURCE,
    norms: &[Norm::Linf, Norm::L2, Norm::L1],
    needs_gradient: true,
    needs_eps: false,
    parameters: vec![STEPS.param(), LOOKED_AT.param(), STARTS.param(), KEEP.param()],
});

static TARGETED: LazyLock<Description> = LazyLock::new(|| Description {
    name: "fab-t",
    summary: "Fast adaptive boundary attack towards one likely class after the other: looks for the nearest adversarial point.",
    source: SOURCE,
    norms: &[Norm::Linf, Norm::L2, Norm::L1],
    needs_gradient: true,
    needs_eps: false,
    parameters: vec![TARGETED_STEPS.param(), TARGETS.param(), KEEP.param()],
});

impl Fab {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            Ok(Box::new(Self {
                steps: STEPS.read(arguments)?,
                targets: LOOKED_AT.read(arguments)?,
                restarts: STARTS.read(arguments)?,
                keep: KEEP.read(arguments)?,
            }))
        },
    };
}

impl Default for Fab {
    fn default() -> Self {
        Self { steps: STEPS.default, targets: LOOKED_AT.default, restarts: STARTS.default, keep: KEEP.default }
    }
}

impl Attack for Fab {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (STEPS.name, self.steps.to_string()),
            (LOOKED_AT.name, self.targets.to_string()),
            (STARTS.name, self.restarts.to_string()),
            (KEEP.name, self.keep.name().to_owned()),
        ]
    }

    fn evaluations(&self) -> u64 {
        u64::from(self.restarts) * u64::from(self.steps) * (u64::from(self.targets) + 1)
    }

    fn worst_case(&self) -> Cost {
        let steps = u64::from(self.restarts) * u64::from(self.steps);
        Cost { queries: steps + 3, gradients: steps * u64::from(self.targets) }
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let threat = samples.threat();
        samples.keep(self.keep);
        samples.roam();
        let mut boundaries = Boundaries::new(samples, self.targets);
        let mut ways = Ways::new(samples.features());
        let mut found = vec![threat.eps.limit(); samples.len()];
        for restart in 0..self.restarts {
            samples.start(restart, Start::Image);
            if restart > 0 {
                samples.each(|spot| threat.start_within(spot.x, RESTART * found[spot.sample], spot.rng, spot.point));
            }
            for _ in 0..self.steps {
                boundaries.nearest(samples, Across::GoesOn, |mut step| ways.advance(&mut step, threat))?;
                go_back(samples, |sample, x, point| found[sample] = found[sample].min(threat.distance(x, point)))?;
            }
        }
        Ok(())
    }
}

impl FabTargeted {
    pub(crate) const ENTRY: Entry = Entry {
        description: &TARGETED,
        parse: |arguments| {
            let (steps, targets) = (TARGETED_STEPS.read(arguments)?, TARGETS.read(arguments)?);
            Ok(Box::new(Self { steps, targets, keep: KEEP.read(arguments)? }))
        },
    };
}

impl Default for FabTargeted {
    fn default() -> Self {
        Self { steps: TARGETED_STEPS.default, targets: TARGETS.default, keep: KEEP.default }
    }
}

impl Attack for FabTargeted {
    fn description(&self) -> &'static Description {
        &TARGETED
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (TARGETED_STEPS.name, self.steps.to_string()),
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
                go_back(samples, |_, _, _| {})?;
            }
        }
        Ok(())
    }
}

/// Moves points that are adversarial, after telling of them, a little towards the clean sample. Most steps lead across the boundary, where a gradient would
/// be of no use: so this looks forward only.
fn go_back(samples: &mut Samples<'_>, mut found: impl FnMut(usize, &[f32], &[f32])) -> Result<(), Halt> {
    samples.query_each(|answer| {
        if answer.margin < 0.0 {
            found(answer.sample, answer.x, answer.point);
            for (p, x) in answer.point.iter_mut().zip(answer.x) {
                *p = x + BACK * (*p - x);
            }
        }
    })
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
