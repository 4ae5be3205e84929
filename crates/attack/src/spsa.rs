//! Simultaneous perturbation stochastic approximation.

use std::sync::LazyLock;

use crate::adam::Adam;
use crate::estimate::{Estimate, PAIRS};
use crate::param::{Choice, Decimal, Notation, ParamKind};
use crate::pgd::step;
use crate::registry::{Description, Entry};
use crate::shared::QUERIES;
use crate::{Attack, Halt, Norm, SampleRng, Samples, Start, StepSize};

/// Simultaneous perturbation stochastic approximation (Uesato et al., 2018): the gradient of the margin is estimated from pairs of points on
/// either side, at which every element is a little larger or smaller by chance, and followed by Adam's steps.
///
/// The original's steps are of 0.01 whatever eps is; here they are a share of eps by default, so that the attack is the same under every threat.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spsa {
    /// Forward evaluations of each sample, at most.
    pub queries: u32,
    /// Pairs of points for an estimate.
    pub pairs: u32,
    /// Distance of the points of a pair from their centre, in each element.
    pub delta: f32,
    /// Length of a step; by rule `eps / 2`.
    pub step: StepSize,
    /// How an estimate becomes a step.
    pub optimizer: Optimizer,
}

/// How an estimate of the gradient becomes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Optimizer {
    /// By Adam: the elements on which the estimates agree move furthest.
    Adam,
    /// Along the steepest ascent: by signs in the maximum norm.
    Steepest,
}

const DELTA: Decimal = Decimal {
    name: "delta",
    default: 0.01,
    min: 1e-6,
    max: 1e6,
    doc: "Distance of the points of a pair from their centre in each element, in units of the model's input.",
};
const STEP: Notation<StepSize> = step("eps / 2");
const OPTIMIZER: Choice<Optimizer> = Choice {
    name: "optimizer",
    default: Optimizer::Adam,
    options: &[Optimizer::Adam, Optimizer::Steepest],
    word: |optimizer| if optimizer == Optimizer::Adam { "adam" } else { "steepest" },
    kind: ParamKind::Choice,
    doc: "How an estimate becomes a step: by Adam, or along the steepest ascent, which is the sign in Linf.",
};

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "spsa",
    summary: "SPSA: steps along a gradient that is estimated from pairs of nearby points; asks for logits only.",
    source: "Uesato, O'Donoghue, van den Oord, Kohli: Adversarial Risk and the Dangers of Evaluating Against Weak Attacks, ICML 2018",
    norms: &[Norm::Linf, Norm::L2],
    needs_gradient: false,
    needs_eps: true,
    parameters: vec![QUERIES.param(), PAIRS.param(), DELTA.param(), STEP.param(), OPTIMIZER.param()],
});

impl Spsa {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            Ok(Box::new(Self {
                queries: QUERIES.read(arguments)?,
                pairs: PAIRS.read(arguments)?,
                delta: DELTA.read(arguments)?,
                step: STEP.read(arguments)?.unwrap_or(StepSize::Auto),
                optimizer: OPTIMIZER.read(arguments)?,
            }))
        },
    };
}

impl Default for Spsa {
    fn default() -> Self {
        Self {
            queries: QUERIES.default,
            pairs: PAIRS.default,
            delta: DELTA.default,
            step: StepSize::Auto,
            optimizer: OPTIMIZER.default,
        }
    }
}

impl Attack for Spsa {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (QUERIES.name, self.queries.to_string()),
            (PAIRS.name, self.pairs.to_string()),
            (DELTA.name, self.delta.to_string()),
            (STEP.name, self.step.to_string()),
            (OPTIMIZER.name, (OPTIMIZER.word)(self.optimizer).to_owned()),
        ]
    }

    fn evaluations(&self) -> u64 {
        self.queries.into()
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let threat = samples.threat();
        let length = self.step.length(threat, 0.5);
        // Adam moves each element by about its rate.
        let rate = (f64::from(length) / threat.length(&vec![1.0; samples.features()])) as f32;
        let mut adam = Adam::new(samples);
        let mut estimate = Estimate::new(samples, self.delta, signs);
        samples.start(0, Start::Random);
        samples.allot(self.queries);
        for taken in 1.. {
            if samples.is_done() {
                break;
            }
            estimate.update(samples, self.pairs, |_, _| {})?;
            samples.each(|spot| {
                let gradient = estimate.gradient(spot.sample);
                match self.optimizer {
                    Optimizer::Adam => adam.descend(spot.sample, taken, rate, gradient, spot.point),
                    Optimizer::Steepest => {
                        threat.steepest(gradient);
                        spot.point.iter_mut().zip(gradient).for_each(|(p, g)| *p -= length * *g);
                    }
                }
                threat.project(spot.x, spot.point);
            });
        }
        Ok(())
    }
}

/// Every element 1 or -1.
fn signs(rng: &mut SampleRng, values: &mut [f32]) {
    values.iter_mut().for_each(|v| *v = rng.sign() as f32);
}
