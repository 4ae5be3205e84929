//! Natural evolution strategies.

use std::sync::LazyLock;

use crate::estimate::{Estimate, PAIRS};
use crate::param::{Decimal, Notation};
use crate::pgd::step;
use crate::registry::{Description, Entry};
use crate::rows::Rows;
use crate::shared::QUERIES;
use crate::{Attack, Halt, Norm, Samples, Start, StepSize};

/// What is left of the momentum after a step.
const DECAY: f32 = 0.9;
/// Steps without a smaller margin after which the next ones are half as long.
const PATIENCE: u32 = 5;
/// Shortest step, as a share of the first.
const SHORTEST: f32 = 0.01;

/// Natural evolution strategies (Ilyas et al., 2018): the gradient of the margin is estimated from pairs of points on either side, at normal
/// deviates; steps go along its momentum, and become half as long when the margin does not fall any more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nes {
    /// Forward evaluations of each sample, at most.
    pub queries: u32,
    /// Pairs of points for an estimate.
    pub pairs: u32,
    /// Standard deviation of the points around their centre, in each element.
    pub sigma: f32,
    /// Length of the first step; by rule `eps / 5`.
    pub step: StepSize,
}

const SIGMA: Decimal = Decimal {
    name: "sigma",
    default: 0.001,
    min: 1e-6,
    max: 1e6,
    doc: "Standard deviation of the points around their centre in each element, in units of the model's input.",
};
const STEP: Notation<StepSize> = step("eps / 5");

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "nes",
    summary: "Natural evolution strategies: steps along the momentum of gradients that are estimated from nearby points; asks for logits only.",
    source: "Ilyas, Engstrom, Athalye, Lin: Black-box Adversarial Attacks with Limited Queries and Information, ICML 2018",
    norms: &[Norm::Linf, Norm::L2],
    needs_gradient: false,
    needs_eps: true,
    parameters: vec![QUERIES.param(), PAIRS.param(), SIGMA.param(), STEP.param()],
});

impl Nes {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            Ok(Box::new(Self {
                queries: QUERIES.read(arguments)?,
                pairs: PAIRS.read(arguments)?,
                sigma: SIGMA.read(arguments)?,
                step: STEP.read(arguments)?.unwrap_or(StepSize::Auto),
            }))
        },
    };
}

impl Default for Nes {
    fn default() -> Self {
        Self { queries: QUERIES.default, pairs: PAIRS.default, sigma: SIGMA.default, step: StepSize::Auto }
    }
}

impl Attack for Nes {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (QUERIES.name, self.queries.to_string()),
            (PAIRS.name, self.pairs.to_string()),
            (SIGMA.name, self.sigma.to_string()),
            (STEP.name, self.step.to_string()),
        ]
    }

    fn evaluations(&self) -> u64 {
        self.queries.into()
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let threat = samples.threat();
        let length = self.step.length(threat, 0.2);
        let mut estimate = Estimate::new(samples, self.sigma, |rng, values| rng.fill_normal(values));
        let mut momenta = Rows::zeros(samples);
        let mut paces = vec![Pace::default(); samples.len()];
        samples.start(0, Start::Image);
        samples.allot(self.queries);
        while !samples.is_done() {
            estimate.update(samples, self.pairs, |sample, margin| paces[sample].note(margin))?;
            samples.each(|spot| {
                let (momentum, gradient) = (momenta.row(spot.sample), estimate.gradient(spot.sample));
                for (m, g) in momentum.iter_mut().zip(gradient.iter_mut()) {
                    *m = DECAY * *m + (1.0 - DECAY) * *g;
                    *g = *m;
                }
                threat.steepest(gradient);
                let length = length * paces[spot.sample].share;
                spot.point.iter_mut().zip(gradient).for_each(|(p, g)| *p -= length * *g);
                threat.project(spot.x, spot.point);
            });
        }
        Ok(())
    }
}

/// How long a sample's steps are.
#[derive(Clone, Copy)]
struct Pace {
    /// Of the first step.
    share: f32,
    smallest: f32,
    /// Steps since the margin was the smallest, or the steps were halved.
    waited: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { share: 1.0, smallest: f32::INFINITY, waited: 0 }
    }
}

impl Pace {
    fn note(&mut self, margin: f32) {
        self.waited += 1;
        if margin < self.smallest {
            (self.smallest, self.waited) = (margin, 0);
        } else if self.waited == PATIENCE {
            (self.share, self.waited) = ((self.share / 2.0).max(SHORTEST), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_halved_where_the_margin_does_not_fall() {
        let mut pace = Pace::default();
        let shares = [3.0, 2.0, 2.0, 2.5, 2.0, 2.0, 2.0, 1.9, 2.0, 2.0, 2.0, 2.0, 2.0].map(|margin| {
            pace.note(margin);
            pace.share
        });
        assert_eq!(shares, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25]);
        (0..100).for_each(|_| pace.note(2.0));
        assert_eq!(pace.share, SHORTEST);
    }
}
