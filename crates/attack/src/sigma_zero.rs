//! Sigma-zero: few changed elements.

use std::sync::LazyLock;

use assay_graph::Loss;

use crate::adam::Adam;
use crate::decay::cosine;
use crate::param::{Decimal, Integer};
use crate::registry::{Description, Entry};
use crate::rows::Rows;
use crate::shared::KEEP_NEAREST;
use crate::{Attack, Bounds, Halt, Keep, Norm, Samples, Start, Step};

/// The smaller, the nearer is what is descended to the number of changed elements.
const SIGMA: f64 = 1e-3;
/// The last length of a step, as a share of the first.
const LAST_RATE: f64 = 0.1;
/// The length below which a change is undone, at first, and what it changes by in a step of length one; as shares of the range of inputs.
const THRESHOLD: f32 = 0.3;
const THRESHOLD_CHANGE: f32 = 0.01;

/// Sigma-zero (Cinà et al., 2025): descends the margin, where the point is not adversarial, and a smooth number of changed elements, the mean of
/// `d^2 / (d^2 + sigma)` over the changes `d`. After each step changes that are shorter than a threshold are undone; it rises where the point is adversarial
/// and falls where it is not.
///
/// A find is a point inside the threat; with a large eps, the number of elements that is reported is an estimate of the sample's robustness.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SigmaZero {
    /// Steps, one gradient each.
    pub steps: u32,
    /// First length of a step; it falls to a tenth.
    pub rate: f32,
    /// Which adversarial sample is kept.
    pub keep: Keep,
}

const STEPS: Integer =
    Integer { name: "steps", default: 1_000, min: 1, max: 100_000, doc: "Steps, one gradient each." };
const RATE: Decimal = Decimal {
    name: "rate",
    default: 1.0,
    min: 1e-6,
    max: 100.0,
    doc: "First step of Adam, with a range of inputs of length 1; it falls to a tenth of that.",
};

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "sigma-zero",
    summary: "Sigma-zero: the adversarial point with the fewest changed elements, by descent on a smooth number of them.",
    source: "Cinà, Villani, Pintor, Schönherr, Biggio, Pelillo: Sigma-zero: Gradient-based Optimization of L0-norm Adversarial Examples, ICLR 2025",
    norms: &[Norm::L0],
    needs_gradient: true,
    needs_eps: false,
    parameters: vec![STEPS.param(), RATE.param(), KEEP_NEAREST.param()],
});

impl SigmaZero {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            let (steps, rate) = (STEPS.read(arguments)?, RATE.read(arguments)?);
            Ok(Box::new(Self { steps, rate, keep: KEEP_NEAREST.read(arguments)? }))
        },
    };
}

impl Default for SigmaZero {
    fn default() -> Self {
        Self { steps: STEPS.default, rate: RATE.default, keep: KEEP_NEAREST.default }
    }
}

impl Attack for SigmaZero {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (STEPS.name, self.steps.to_string()),
            (RATE.name, self.rate.to_string()),
            (KEEP_NEAREST.name, self.keep.name().to_owned()),
        ]
    }

    fn evaluations(&self) -> u64 {
        u64::from(self.steps) + 1
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let bounds = samples.threat().bounds;
        let first = f64::from(self.rate);
        let mut changes = Rows::zeros(samples);
        let mut adam = Adam::new(samples);
        let mut thresholds = vec![THRESHOLD; samples.len()];
        samples.keep(self.keep);
        samples.roam();
        samples.start(0, Start::Image);
        for taken in 0..self.steps {
            let rate = cosine(first, LAST_RATE * first, taken, self.steps) as f32;
            samples.gradient(Loss::Margin, |mut step| {
                let changes = changes.row(step.sample);
                let threshold = &mut thresholds[step.sample];
                let turn = if step.adversarial { THRESHOLD_CHANGE } else { -THRESHOLD_CHANGE };
                *threshold = (*threshold + turn * rate).clamp(0.0, 1.0);
                slope(&mut step, changes, bounds);
                adam.descend(step.sample, taken + 1, rate, step.gradient, changes);
                place(&mut step, changes, *threshold, bounds);
            })?;
        }
        samples.query()
    }
}

/// Puts the derivative of what is descended, with respect to the changes, in the place of the margin's: its largest element is one.
fn slope(step: &mut Step<'_>, changes: &[f32], bounds: Bounds) {
    let width = f64::from(bounds.high()) - f64::from(bounds.low());
    let pull = if step.loss < 0.0 { width } else { 0.0 };
    let share = 2.0 * SIGMA / changes.len() as f64;
    let of = |g: f32, d: f32| {
        let d = f64::from(d);
        share * d / (d * d + SIGMA).powi(2) - pull * f64::from(g)
    };
    let largest = step.gradient.iter().zip(changes).map(|(g, d)| of(*g, *d).abs()).fold(1e-12, f64::max);
    for (g, d) in step.gradient.iter_mut().zip(changes) {
        *g = (of(*g, *d) / largest) as f32;
    }
}

/// Moves the point to where the changes lead, which are first brought inside the bounds, and undone where they are shorter than the threshold.
fn place(step: &mut Step<'_>, changes: &mut [f32], threshold: f32, bounds: Bounds) {
    let width = bounds.high() - bounds.low();
    for ((p, x), change) in step.point.iter_mut().zip(step.x).zip(changes) {
        *change = change.clamp((bounds.low() - x) / width, (bounds.high() - x) / width);
        if change.abs() < threshold {
            *change = 0.0;
        }
        *p = (x + width * *change).clamp(bounds.low(), bounds.high());
    }
}
