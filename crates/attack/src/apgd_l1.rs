//! Auto-PGD in the sum of absolute changes.

use assay_graph::Loss;
use assay_runtime::Class;

use crate::{Halt, Samples, Start, Step, Threat, l0, l1};

/// Radii of the balls that the steps are taken in, in eps: from where a point was found in a wider one, the corners of the own are better reached.
const RADII: [f64; 3] = [3.0, 2.0, 1.0];
/// Evaluations of a start: each ball begins with one.
pub(crate) const EXTRA_EVALUATIONS: u32 = RADII.len() as u32;
/// Share of the elements that the first step from an image moves.
const FIRST_SHARE: f64 = 0.2;
/// Of the elements that differ at the best point, this is how many the next steps move.
const KEPT: f64 = 1.0 / 1.5;
/// The best point became sparser if it differs in less than this share of the elements that it differed in before.
const SPARSER: f64 = 0.95;
/// What a step shrinks by where the best point became no sparser, and its least length, in radii.
const SHRINK: f32 = 1.0 / 1.5;
const SHORTEST: f32 = 0.1;

/// One start of every sample under attack: the variant of Croce and Hein (Mind the Box: l1-APGD for Sparse Adversarial Attacks on Image Classifiers, ICML 2021).
///
/// A step moves a few elements by the same amount, as many as the best point so far says; it has no momentum. It is `eps` long, and shrinks
/// where the best point became no sparser; where it did, the attack goes back to it with a step of full length. Points of the wider balls
/// are no finds unless they lie in the threat.
pub(crate) fn ascend(
    samples: &mut Samples<'_>,
    restart: u32,
    start: Start,
    steps: u32,
    loss: Loss,
    targets: Option<&[Class]>,
) -> Result<(), Halt> {
    let threat = samples.threat();
    samples.roam();
    samples.start_at(restart, |x, rng, point| {
        if start == Start::Random {
            rng.fill_normal(point);
            point.iter_mut().zip(x).for_each(|(p, x)| *p += x);
        }
    });
    let mut climbs: Vec<Option<Climb>> = (0..samples.len()).map(|_| None).collect();
    for (radius, steps) in RADII.into_iter().zip(shares(steps)).filter(|(_, steps)| *steps > 0) {
        let radius = radius * threat.eps.limit();
        samples.each(|spot| {
            if let Some(climb) = climbs[spot.sample].take() {
                spot.point.copy_from_slice(&climb.best_point);
            }
            threat.project_within(spot.x, radius, spot.point);
        });
        let window = (steps * 4 / 100).max(1);
        for taken in 0..=steps {
            let advance = |mut step: Step<'_>| {
                let climb = climbs[step.sample].get_or_insert_with(|| Climb::new(&step, radius));
                climb.observe(&step);
                if taken > 0 && taken % window == 0 {
                    climb.adapt(&mut step, radius);
                }
                if taken < steps {
                    climb.advance(&mut step, threat, radius);
                }
            };
            match targets {
                None => samples.gradient(loss, advance)?,
                Some(targets) => samples.gradient_towards(loss, targets, advance)?,
            }
        }
    }
    Ok(())
}

/// The steps in each ball: 30, 30 and 40 % of them.
fn shares(steps: u32) -> [u32; RADII.len()] {
    let wide = (steps * 3).div_ceil(10).min(steps / 3);
    [wide, wide, steps - 2 * wide]
}

/// What is known of one sample in one ball.
struct Climb {
    /// Length of the step.
    step: f32,
    /// Share of the elements that it moves.
    share: f64,
    /// The largest loss, its point and its gradient.
    best: f32,
    best_point: Vec<f32>,
    best_gradient: Vec<f32>,
    /// Elements in which the best point differed when that was looked at last.
    differing: usize,
}

impl Climb {
    fn new(step: &Step<'_>, radius: f64) -> Self {
        let features = step.x.len();
        let (differing, share) = match l0::distance(step.x, step.point) {
            0 => (features, FIRST_SHARE),
            differing => (differing, KEPT * differing as f64 / features as f64),
        };
        Self {
            step: radius as f32,
            share,
            best: f32::NEG_INFINITY,
            best_point: step.point.to_vec(),
            best_gradient: step.gradient.to_vec(),
            differing,
        }
    }

    fn observe(&mut self, step: &Step<'_>) {
        if step.loss > self.best {
            self.best = step.loss;
            self.best_point.copy_from_slice(step.point);
            self.best_gradient.copy_from_slice(step.gradient);
        }
    }

    /// Looks at how sparse the best point is.
    fn adapt(&mut self, step: &mut Step<'_>, radius: f64) {
        let differing = l0::distance(step.x, &self.best_point);
        self.share = KEPT * differing as f64 / step.x.len() as f64;
        if (differing as f64) < SPARSER * self.differing as f64 {
            self.step = radius as f32;
            step.point.copy_from_slice(&self.best_point);
            step.gradient.copy_from_slice(&self.best_gradient);
        } else {
            self.step = (SHRINK * self.step).max(SHORTEST * radius as f32);
        }
        self.differing = differing;
    }

    fn advance(&self, step: &mut Step<'_>, threat: &Threat, radius: f64) {
        l1::spread(step.gradient, self.share);
        step.advance(self.step);
        threat.project_within(step.x, radius, step.point);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wider_balls_get_three_tenths_of_the_steps_each() {
        assert_eq!(shares(100), [30, 30, 40]);
        assert_eq!(shares(12), [4, 4, 4]);
        for steps in 1..200 {
            let shares = shares(steps);
            assert!(shares.iter().sum::<u32>() == steps && shares[2] >= shares[0] && shares[2] > 0, "{shares:?}");
        }
    }
}
