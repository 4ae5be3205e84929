//! Projected gradient descent.

use std::fmt;
use std::sync::LazyLock;

use assay_graph::Loss;

use crate::param::{Integer, Notation};
use crate::registry::{Description, Entry};
use crate::shared::{EOT, KEEP_FIRST, LOSS, RANDOM_START, RESTARTS, aims, starts_differ};
use crate::{Attack, Halt, Keep, Norm, Samples, Start, Threat};

/// Steps along the steepest ascent of a loss, projected back on the threat after each: `x' = P(x' + step * steepest(dL/dx'))`
/// (Madry et al., 2018), from one or several starting points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pgd {
    /// Steps of each restart.
    pub steps: u32,
    /// Length of a step.
    pub step: StepSize,
    /// Starting points that are tried one after the other.
    pub restarts: u32,
    /// Where a restart begins.
    pub start: Start,
    /// What is maximised.
    pub loss: Loss,
    /// Which adversarial sample is kept.
    pub keep: Keep,
    /// Evaluations of each point whose mean is followed.
    pub eot: u32,
}

/// Length of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StepSize {
    /// The attack's own rule.
    Auto,
    /// This many units of the model's input, in the threat's norm.
    Fixed(f32),
    /// This many times eps: the same attack under every threat.
    Relative(f32),
}

/// The longest step: a point that is moved by it stays finite.
const LONGEST: f32 = 1e6;

impl StepSize {
    /// `auto`, `0.01` or `0.1*eps`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let positive = |number: &str| number.parse().ok().filter(|v: &f32| *v > 0.0 && *v <= LONGEST);
        match (text, text.strip_suffix("*eps")) {
            ("auto", _) => Some(Self::Auto),
            (_, Some(factor)) => positive(factor).map(Self::Relative),
            (number, None) => positive(number).map(Self::Fixed),
        }
    }

    /// The length under a threat, where the attack's own rule is this many times eps.
    pub(crate) fn length(self, threat: &Threat, auto: f64) -> f32 {
        let relative = |factor: f64| (factor * threat.eps.limit()).min(f64::from(LONGEST)) as f32;
        match self {
            Self::Auto => relative(auto),
            Self::Fixed(step) => step,
            Self::Relative(factor) => relative(factor.into()),
        }
    }
}

/// The parameter, with an attack's own rule.
pub(crate) const fn step(rule: &'static str) -> Notation<StepSize> {
    Notation {
        name: "step",
        rule,
        range: "a number above 0, at most 1000000; such a number times eps, as in 0.1*eps; or auto",
        doc: "Length of a step in the threat's norm, in units of the model's input.",
        parse: StepSize::parse,
    }
}

impl fmt::Display for StepSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(step) => step.fmt(f),
            Self::Relative(factor) => write!(f, "{factor}*eps"),
        }
    }
}

const STEPS: Integer =
    Integer { name: "steps", default: 40, min: 1, max: 10_000, doc: "Steps of each restart, one gradient each." };
/// From any point of the ball, every other one is in reach, with room to turn.
const STEP: Notation<StepSize> = step("2.5 * eps / steps");
static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "pgd",
    summary: "Projected gradient descent: many small steps along the gradient, from random points of the ball.",
    source: "Madry, Makelov, Schmidt, Tsipras, Vladu: Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018",
    norms: &[Norm::Linf, Norm::L2, Norm::L1],
    needs_gradient: true,
    needs_eps: true,
    parameters: vec![
        STEPS.param(),
        STEP.param(),
        RESTARTS.param(),
        RANDOM_START.param(),
        LOSS.param(),
        KEEP_FIRST.param(),
        EOT.param(),
    ],
});

impl Pgd {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            let pgd = Self {
                steps: STEPS.read(arguments)?,
                step: STEP.read(arguments)?.unwrap_or(StepSize::Auto),
                restarts: RESTARTS.read(arguments)?,
                start: RANDOM_START.read(arguments)?,
                loss: LOSS.read(arguments)?,
                keep: KEEP_FIRST.read(arguments)?,
                eot: EOT.read(arguments)?,
            };
            starts_differ(arguments, pgd.start, pgd.restarts)?;
            Ok(Box::new(pgd))
        },
    };

    fn length(&self, threat: &Threat) -> f32 {
        self.step.length(threat, 2.5 / f64::from(self.steps))
    }
}

impl Default for Pgd {
    fn default() -> Self {
        Self {
            steps: STEPS.default,
            step: StepSize::Auto,
            restarts: RESTARTS.default,
            start: RANDOM_START.default,
            loss: LOSS.default,
            keep: KEEP_FIRST.default,
            eot: EOT.default,
        }
    }
}

impl Attack for Pgd {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (STEPS.name, self.steps.to_string()),
            (STEP.name, self.step.to_string()),
            (RESTARTS.name, self.restarts.to_string()),
            (RANDOM_START.name, (RANDOM_START.word)(self.start).to_owned()),
            (LOSS.name, self.loss.name().to_owned()),
            (KEEP_FIRST.name, self.keep.name().to_owned()),
            (EOT.name, self.eot.to_string()),
        ]
    }

    fn evaluations(&self) -> u64 {
        u64::from(self.restarts) * (u64::from(self.steps) + 1) * u64::from(self.eot)
    }

    fn needs_eps(&self) -> bool {
        self.start == Start::Random || !matches!(self.step, StepSize::Fixed(_))
    }

    fn min_classes(&self) -> usize {
        self.loss.min_classes()
    }

    fn aims(&self) -> Result<(), String> {
        aims(self.loss)
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let length = self.length(samples.threat());
        samples.keep(self.keep);
        samples.draws(self.eot);
        for restart in 0..self.restarts {
            samples.start(restart, self.start);
            ascend(samples, self.steps, length, self.loss)?;
        }
        Ok(())
    }
}

/// Steps of every sample under attack, from where its point is, and a look at the last point.
pub(crate) fn ascend(samples: &mut Samples<'_>, steps: u32, length: f32, loss: Loss) -> Result<(), Halt> {
    let threat = samples.threat();
    for _ in 0..steps {
        samples.gradient(loss, |step| threat.climb(step.x, step.gradient, length, step.point))?;
    }
    samples.query()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bounds;

    #[test]
    fn a_step_is_absolute_relative_to_eps_or_the_rule() {
        let threat =
            |eps: &str| Threat { norm: Norm::L2, eps: eps.parse().unwrap(), bounds: Bounds::new(0.0, 1.0).unwrap() };
        let step = |text: &str, eps: &str| {
            let step = StepSize::parse(text).unwrap();
            assert_eq!(step.to_string(), text);
            Pgd { step, steps: 50, ..Pgd::default() }.length(&threat(eps))
        };
        assert_eq!(step("0.25", "1/2"), 0.25);
        assert_eq!(step("0.25*eps", "1/2"), 0.125);
        assert_eq!(step("auto", "1/2"), 0.025);
        for text in ["", "0", "-1", "NaN", "inf", "1e7", "*eps", "0*eps", "2*epsilon", "eps"] {
            assert_eq!(StepSize::parse(text), None, "{text}");
        }
    }
}
