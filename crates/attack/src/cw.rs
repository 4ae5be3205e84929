//! The attack of Carlini and Wagner in the Euclidean norm.

use std::sync::LazyLock;

use assay_graph::Loss;

use crate::adam::Adam;
use crate::param::{Choice, Decimal, Integer, ParamKind};
use crate::registry::{Description, Entry};
use crate::rows::Rows;
use crate::shared::KEEP_NEAREST;
use crate::{Attack, Bounds, Halt, Keep, Norm, Samples, Step};

/// How far inside its range a start is moved, whose ends are infinitely far away for the variable.
const INSIDE: f32 = 0.999_999;
/// A search that has not lowered its objective to this share in a tenth of its steps is given up.
const STALLED: f64 = 0.9999;
/// The factor of the weight while no search has found anything.
const GROWTH: f64 = 10.0;
/// Largest derivative: its square is a number too.
const STEEPEST: f64 = 1e18;

/// Carlini and Wagner's attack (2017): descends `|x' - x|^2 + c * max(kappa - margin, 0)` by Adam, and searches for each sample the weight `c` at which
/// the nearest adversarial point is found. The point is `x' = (tanh(w) + 1) / 2` on a range of one, so that it never leaves it.
///
/// Thorough and slow: up to `searches * steps` gradients. A find is a point inside the threat; with a large eps, the distance that is reported
/// is an estimate of the sample's robustness.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CarliniWagner {
    /// Weights that are tried.
    pub searches: u32,
    /// Most steps for each weight.
    pub steps: u32,
    /// Step of Adam.
    pub rate: f32,
    /// The first weight of misclassification against distance.
    pub weight: f32,
    /// By how much the logit of another class must exceed the label's for a point to count.
    pub kappa: f32,
    /// Whether a search ends when it does not get on.
    pub abort_early: bool,
    /// Which adversarial sample is kept.
    pub keep: Keep,
}

const SEARCHES: Integer = Integer {
    name: "searches",
    default: 9,
    min: 1,
    max: 100,
    doc: "Weights that are tried: ten times the last until something is found, then halfway between one that was too small and one that was not.",
};
const STEPS: Integer = Integer {
    name: "steps",
    default: 1_000,
    min: 1,
    max: 100_000,
    doc: "Most steps for each weight, one gradient each.",
};
const RATE: Decimal = Decimal {
    name: "rate",
    default: 0.01,
    min: 1e-6,
    max: 100.0,
    doc: "Step of Adam, in units of a variable whose hyperbolic tangent is the point.",
};
const WEIGHT: Decimal = Decimal {
    name: "c",
    default: 1e-3,
    min: 1e-9,
    max: 1e9,
    doc: "The first weight of misclassification, in logits, against the squared distance, with a range of inputs of length 1.",
};
const KAPPA: Decimal = Decimal {
    name: "kappa",
    default: 0.0,
    min: 0.0,
    max: 1e6,
    doc: "By how much the logit of another class must exceed the label's; points with less do not count.",
};
const ABORT_EARLY: Choice<bool> = Choice {
    name: "abort_early",
    default: true,
    options: &[true, false],
    word: |abort| if abort { "true" } else { "false" },
    kind: ParamKind::Boolean,
    doc: "Whether the search with a weight ends when a tenth of its steps have brought nothing.",
};

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "cw",
    summary: "Carlini and Wagner: the nearest adversarial point in L2, by descent on distance and margin, their weights searched; thorough and slow.",
    source: "Carlini, Wagner: Towards Evaluating the Robustness of Neural Networks, S&P 2017",
    norms: &[Norm::L2],
    needs_gradient: true,
    needs_eps: false,
    parameters: vec![
        SEARCHES.param(),
        STEPS.param(),
        RATE.param(),
        WEIGHT.param(),
        KAPPA.param(),
        ABORT_EARLY.param(),
        KEEP_NEAREST.param(),
    ],
});

impl CarliniWagner {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            Ok(Box::new(Self {
                searches: SEARCHES.read(arguments)?,
                steps: STEPS.read(arguments)?,
                rate: RATE.read(arguments)?,
                weight: WEIGHT.read(arguments)?,
                kappa: KAPPA.read(arguments)?,
                abort_early: ABORT_EARLY.read(arguments)?,
                keep: KEEP_NEAREST.read(arguments)?,
            }))
        },
    };
}

impl Default for CarliniWagner {
    fn default() -> Self {
        Self {
            searches: SEARCHES.default,
            steps: STEPS.default,
            rate: RATE.default,
            weight: WEIGHT.default,
            kappa: KAPPA.default,
            abort_early: ABORT_EARLY.default,
            keep: KEEP_NEAREST.default,
        }
    }
}

impl Attack for CarliniWagner {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (SEARCHES.name, self.searches.to_string()),
            (STEPS.name, self.steps.to_string()),
            (RATE.name, self.rate.to_string()),
            (WEIGHT.name, self.weight.to_string()),
            (KAPPA.name, self.kappa.to_string()),
            (ABORT_EARLY.name, self.abort_early.to_string()),
            (KEEP_NEAREST.name, self.keep.name().to_owned()),
        ]
    }

    fn evaluations(&self) -> u64 {
        u64::from(self.searches) * (u64::from(self.steps) + 1)
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let range = Range::of(samples.threat().bounds);
        let mut variables = Rows::zeros(samples);
        let mut adam = Adam::new(samples);
        let mut searches = vec![Search::new(f64::from(self.weight)); samples.len()];
        samples.keep(self.keep);
        samples.roam();
        samples.demand(self.kappa);
        for search in 0..self.searches {
            adam.reset();
            samples.start_at(search, |x, _, point| {
                for (p, x) in point.iter_mut().zip(x) {
                    *p = range.point(range.variable(*x));
                }
            });
            for taken in 0..self.steps {
                let look = self.abort_early && taken % (self.steps / 10).max(1) == 0;
                let mut stalled = Vec::new();
                samples.gradient(Loss::Margin, |mut step| {
                    let search = &mut searches[step.sample];
                    let variables = variables.row(step.sample);
                    if taken == 0 {
                        for (w, x) in variables.iter_mut().zip(step.x) {
                            *w = range.variable(*x);
                        }
                    }
                    search.found |= step.adversarial && step.loss >= self.kappa;
                    let objective = range.objective(&mut step, search.weight, self.kappa);
                    if look && search.stalls(objective) {
                        stalled.push(step.sample);
                        return;
                    }
                    range.chain(variables, step.gradient);
                    adam.descend(step.sample, taken + 1, self.rate, step.gradient, variables);
                    for (p, w) in step.point.iter_mut().zip(variables) {
                        *p = range.point(*w);
                    }
                })?;
                for sample in stalled {
                    samples.rest(sample);
                }
            }
            samples.query_each(|last| {
                searches[last.sample].found |= last.margin < 0.0 && -last.margin >= self.kappa;
            })?;
            searches.iter_mut().for_each(Search::next);
        }
        Ok(())
    }
}

/// The range of valid inputs as that of a hyperbolic tangent. Distances are measured as if it had length one, so that a weight means the same in
/// any range.
#[derive(Clone, Copy)]
struct Range {
    bounds: Bounds,
    middle: f32,
    half: f32,
}

impl Range {
    fn of(bounds: Bounds) -> Self {
        let middle = f32::midpoint(bounds.low(), bounds.high());
        Self { bounds, middle, half: bounds.high() - middle }
    }

    fn variable(&self, x: f32) -> f32 {
        (INSIDE * (x - self.middle) / self.half).atanh()
    }

    fn point(&self, w: f32) -> f32 {
        (self.middle + self.half * w.tanh()).clamp(self.bounds.low(), self.bounds.high())
    }

    /// The objective at the step's point; puts its derivative with respect to the point in the place of the margin's, in units of the range.
    fn objective(&self, step: &mut Step<'_>, weight: f64, kappa: f32) -> f64 {
        let width = 2.0 * self.half;
        let short = kappa - step.loss;
        let pull = if short > 0.0 { weight * f64::from(width) } else { 0.0 };
        let mut distance = 0.0;
        for ((g, p), x) in step.gradient.iter_mut().zip(&*step.point).zip(step.x) {
            let offset = (p - x) / width;
            distance += f64::from(offset) * f64::from(offset);
            *g = (2.0 * f64::from(offset) - pull * f64::from(*g)).clamp(-STEEPEST, STEEPEST) as f32;
        }
        distance + weight * f64::from(short.max(0.0))
    }

    /// From the derivative with respect to the point to that with respect to the variable.
    fn chain(&self, variables: &[f32], gradient: &mut [f32]) {
        for (g, w) in gradient.iter_mut().zip(variables) {
            let tanh = w.tanh();
            *g *= (1.0 - tanh) * (1.0 + tanh) / 2.0;
        }
    }
}

/// The search for the weight of one sample.
#[derive(Clone, Copy)]
struct Search {
    weight: f64,
    /// Largest weight with which nothing was found, smallest one with which something was.
    below: f64,
    above: f64,
    /// Whether something was found with this weight.
    found: bool,
    /// The objective when it was last looked at.
    objective: f64,
}

impl Search {
    fn new(weight: f64) -> Self {
        Self { weight, below: 0.0, above: f64::INFINITY, found: false, objective: f64::INFINITY }
    }

    fn stalls(&mut self, objective: f64) -> bool {
        objective > STALLED * std::mem::replace(&mut self.objective, objective)
    }

    fn next(&mut self) {
        if std::mem::replace(&mut self.found, false) {
            self.above = self.above.min(self.weight);
        } else {
            self.below = self.below.max(self.weight);
        }
        self.weight = if self.above.is_finite() { f64::midpoint(self.below, self.above) } else { GROWTH * self.weight };
        self.objective = f64::INFINITY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_grow_until_something_is_found_and_are_halved_in_from_there() {
        let mut search = Search::new(0.001);
        let mut seen = Vec::new();
        for found in [false, false, true, false, true] {
            search.found = found;
            search.next();
            seen.push(search.weight);
        }
        let expected = [0.01, 0.1, 0.055, 0.0775, 0.066_25];
        assert!(seen.iter().zip(expected).all(|(a, b)| (a / b - 1.0).abs() < 1e-12), "{seen:?}");
    }

    #[test]
    fn variables_stand_for_points_of_any_range() {
        for (low, high) in [(0.0, 1.0), (-2.5, 3.25), (0.0, 255.0)] {
            let range = Range::of(Bounds::new(low, high).unwrap());
            for share in [0.0, 0.1, 0.5, 0.99, 1.0] {
                let x = low + share * (high - low);
                assert!((range.point(range.variable(x)) - x).abs() < 2e-6 * (high - low), "{x} in {low}, {high}");
            }
            assert_eq!((range.point(-1e9), range.point(1e9)), (low, high));
        }
    }
}
