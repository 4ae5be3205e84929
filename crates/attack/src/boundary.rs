//! The boundary attack.

use std::sync::LazyLock;

use crate::decision::Walk;
use crate::param::Decimal;
use crate::registry::{Description, Entry};
use crate::shared::{KEEP_NEAREST, QUERIES};
use crate::{Attack, Halt, Keep, Norm, Probe, Reading, Samples, Start, Threat};

/// How near to the boundary the walk begins, as a share of the distance.
const NEARNESS: f64 = 0.01;
/// Every so many steps the point on the sphere is evaluated too.
const CHECK_EVERY: u32 = 10;
/// By what the lengths of steps change.
const CHANGE: f64 = 1.5;
/// The longest steps around and towards the sample.
const LONGEST: f64 = 0.5;
/// The walk ends where steps towards the sample are shorter than this.
const SHORTEST: f64 = 1e-7;

/// The boundary attack (Brendel et al., 2018): a random walk among adversarial points, each step a little around the sample and a little towards it. Both
/// lengths, which are shares of the distance, follow how often such steps succeed. It needs to know the predicted class only.
///
/// The original begins with steps of 0.01 and looks at 1,000 of them before it changes the length of those around the sample; here it is 100.
///
/// A find is a point inside the threat; with a large eps, the distance that is reported is an estimate of the sample's robustness.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Boundary {
    /// Forward evaluations of each sample, at most.
    pub queries: u32,
    /// Length of the first step around the sample.
    pub around: f32,
    /// Length of the first step towards the sample.
    pub towards: f32,
    /// Which adversarial sample is kept.
    pub keep: Keep,
}

const AROUND: Decimal = Decimal {
    name: "around",
    default: 0.1,
    min: 1e-6,
    max: 0.5,
    doc: "Length of the first step around the sample, as a share of the distance.",
};
const TOWARDS: Decimal = Decimal {
    name: "towards",
    default: 0.03,
    min: 1e-6,
    max: 0.5,
    doc: "Length of the first step towards the sample, as a share of the distance.",
};

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "boundary",
    summary: "Boundary attack: the nearest adversarial point in L2, by a random walk along the boundary; asks for the predicted class only.",
    source: "Brendel, Rauber, Bethge: Decision-Based Adversarial Attacks: Reliable Attacks Against Black-Box Machine Learning Models, ICLR 2018",
    norms: &[Norm::L2],
    needs_gradient: false,
    needs_eps: false,
    parameters: vec![QUERIES.param(), AROUND.param(), TOWARDS.param(), KEEP_NEAREST.param()],
});

impl Boundary {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            Ok(Box::new(Self {
                queries: QUERIES.read(arguments)?,
                around: AROUND.read(arguments)?,
                towards: TOWARDS.read(arguments)?,
                keep: KEEP_NEAREST.read(arguments)?,
            }))
        },
    };
}

impl Default for Boundary {
    fn default() -> Self {
        Self { queries: QUERIES.default, around: AROUND.default, towards: TOWARDS.default, keep: KEEP_NEAREST.default }
    }
}

impl Attack for Boundary {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (QUERIES.name, self.queries.to_string()),
            (AROUND.name, self.around.to_string()),
            (TOWARDS.name, self.towards.to_string()),
            (KEEP_NEAREST.name, self.keep.name().to_owned()),
        ]
    }

    fn evaluations(&self) -> u64 {
        self.queries.into()
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let threat = samples.threat();
        samples.keep(self.keep);
        samples.roam();
        samples.start(0, Start::Image);
        samples.allot(self.queries);
        let mut walk = Walk::new(samples);
        walk.start(samples, self.queries)?;
        walk.approach(samples, NEARNESS)?;
        let mut steps = vec![Steps::new(self.around.into(), self.towards.into()); samples.len()];
        let mut ended = Vec::new();
        for turn in 1_u32.. {
            if samples.is_done() {
                break;
            }
            let now = steps.clone();
            let around = |Probe { sample, x, point, probe, rng, .. }: Probe<'_>| {
                rng.fill_normal(probe);
                now[sample].go_around(threat, x, point, probe);
            };
            if turn % CHECK_EVERY == 0 {
                let read = |Reading { sample, margin, .. }: Reading<'_>| steps[sample].arounds.note(margin < 0.0);
                samples.probe(|_| 1, around, read)?;
            }
            let nearer = |Probe { sample, x, point, probe, rng, .. }: Probe<'_>| {
                rng.fill_normal(probe);
                now[sample].go_around(threat, x, point, probe);
                now[sample].go_nearer(threat, x, point, probe);
            };
            walk.propose(samples, |_| true, nearer, |sample, found| steps[sample].nearers.note(found))?;
            samples.each(|spot| {
                let steps = &mut steps[spot.sample];
                steps.adapt();
                if steps.towards < SHORTEST {
                    ended.push(spot.sample);
                }
            });
            for sample in ended.drain(..) {
                samples.rest(sample);
            }
        }
        Ok(())
    }
}

/// Lengths of a sample's steps, as shares of the distance, and what became of the last ones.
#[derive(Clone, Copy)]
struct Steps {
    around: f64,
    towards: f64,
    /// Points on the sphere around the sample.
    arounds: Successes,
    /// Points nearer to the sample.
    nearers: Successes,
}

impl Steps {
    fn new(around: f64, towards: f64) -> Self {
        Self { around, towards, arounds: Successes::default(), nearers: Successes::default() }
    }

    /// Where about half of the points on the sphere are adversarial, the boundary is flat at the length of a step: there it should be. Of the points nearer to
    /// the sample fewer are.
    fn adapt(&mut self) {
        let arounds = self.arounds.change(10, 0.2, 0.5);
        self.around = (self.around * arounds).min(LONGEST);
        self.towards = (self.towards * arounds * self.nearers.change(30, 0.1, 0.25)).min(LONGEST);
    }

    /// Moves `at`, which holds a random direction, to the point in that direction from `point` on the sphere around `x` through it.
    fn go_around(&self, threat: &Threat, x: &[f32], point: &[f32], at: &mut [f32]) {
        let distance = threat.distance(x, point).max(1e-12);
        let offset = |x: f32, p: f32| f64::from(p) - f64::from(x);
        let points = || x.iter().zip(point).map(|(x, p)| offset(*x, *p));
        let along = at.iter().zip(points()).map(|(d, o)| f64::from(*d) * o).sum::<f64>() / distance.powi(2);
        for (d, o) in at.iter_mut().zip(points()) {
            *d = (f64::from(*d) - along * o) as f32;
        }
        let length = self.around * distance / threat.length(at).max(f64::MIN_POSITIVE);
        let shrink = (1.0 + self.around.powi(2)).sqrt().recip();
        for ((d, o), x) in at.iter_mut().zip(points()).zip(x) {
            let moved = f64::from(*x) + shrink * (o + length * f64::from(*d));
            *d = (moved as f32).clamp(threat.bounds.low(), threat.bounds.high());
        }
    }

    /// Moves `at` towards `x`, so that it lies nearer than `point` by the length of a step.
    fn go_nearer(&self, threat: &Threat, x: &[f32], point: &[f32], at: &mut [f32]) {
        let radius = (1.0 - self.towards) * threat.distance(x, point);
        threat.project_within(x, radius, at);
    }
}

/// How many of the last points were adversarial.
#[derive(Clone, Copy, Default)]
struct Successes {
    points: u32,
    adversarial: u32,
}

impl Successes {
    fn note(&mut self, adversarial: bool) {
        self.points += 1;
        self.adversarial += u32::from(adversarial);
    }

    /// By what a length changes: it falls where too few of so many points succeeded, and rises where more did than need be.
    fn change(&mut self, points: u32, few: f64, many: f64) -> f64 {
        if self.points < points {
            return 1.0;
        }
        let rate = f64::from(self.adversarial) / f64::from(self.points);
        *self = Self::default();
        match rate {
            rate if rate < few => 1.0 / CHANGE,
            rate if rate > many => CHANGE,
            _ => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_follow_how_often_steps_succeed() {
        let after = |arounds: u32, nearers: u32| {
            let mut steps = Steps::new(0.1, 0.01);
            (0..10).for_each(|i| steps.arounds.note(i < arounds));
            (0..30).for_each(|i| steps.nearers.note(i < nearers));
            steps.adapt();
            [steps.around / 0.1, steps.towards / 0.01].map(|share| (share * 100.0).round() as u32)
        };
        // Half of the points on the sphere and a fifth of those nearer: as it should be.
        assert_eq!(after(5, 6), [100, 100]);
        assert_eq!(after(6, 6), [150, 150]);
        assert_eq!(after(1, 6), [67, 67]);
        assert_eq!(after(5, 10), [100, 150]);
        assert_eq!(after(5, 2), [100, 67]);
        assert_eq!(after(9, 20), [150, 225]);
        // Too few to tell.
        let mut steps = Steps::new(0.1, 0.01);
        (0..9).for_each(|_| steps.arounds.note(true));
        steps.adapt();
        assert_eq!((steps.around, steps.towards), (0.1, 0.01));
    }
}
