//! One perturbation for all samples.

use std::sync::LazyLock;

use assay_graph::Loss;

use crate::param::{Integer, Notation};
use crate::pgd::{StepSize, step};
use crate::pull::Pulls;
use crate::registry::{Description, Entry};
use crate::shared::FIT;
use crate::{Attack, Cost, Halt, Norm, Samples, Spot, Threat};

/// A universal perturbation (Moosavi-Dezfooli et al., 2017): one that makes most samples misclassified, whichever it is added to. It is made from the first
/// samples by projected gradient ascent, as by Shafahi et al. (2020), and judged on the others.
///
/// Ascent is on the number of those that are misclassified, made smooth; what is kept is the perturbation under which most of them were. Each step takes the
/// gradients of all, so that it does not matter how they are put into batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Universal {
    /// Steps.
    pub steps: u32,
    /// Length of a step.
    pub step: StepSize,
    /// Share of the samples that it is made from, the first ones.
    pub fit: f32,
}

const STEPS: Integer = Integer {
    name: "steps",
    default: 100,
    min: 1,
    max: 10_000,
    doc: "Steps, one gradient each of every sample that it is made from.",
};
const STEP: Notation<StepSize> = step("2.5 * eps / steps");

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "universal",
    summary: "One perturbation for all samples: made from the first samples of a request by projected gradient descent, judged on the others.",
    source: "Moosavi-Dezfooli, Fawzi, Fawzi, Frossard: Universal Adversarial Perturbations, CVPR 2017; Shafahi, Najibi, Xu, Dickerson, Davis, Goldstein: Universal Adversarial Training, AAAI 2020",
    norms: &[Norm::Linf, Norm::L2, Norm::L1],
    needs_gradient: true,
    needs_eps: true,
    parameters: vec![STEPS.param(), STEP.param(), FIT.param()],
});

impl Universal {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            Ok(Box::new(Self {
                steps: STEPS.read(arguments)?,
                step: STEP.read(arguments)?.unwrap_or(StepSize::Auto),
                fit: FIT.read(arguments)?,
            }))
        },
    };
}

impl Default for Universal {
    fn default() -> Self {
        Self { steps: STEPS.default, step: StepSize::Auto, fit: FIT.default }
    }
}

impl Attack for Universal {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![(STEPS.name, self.steps.to_string()), (STEP.name, self.step.to_string()), (FIT.name, self.fit.to_string())]
    }

    fn evaluations(&self) -> u64 {
        u64::from(self.steps) + 1
    }

    fn worst_case(&self) -> Cost {
        Cost { queries: 1 + 3, gradients: self.steps.into() }
    }

    fn fitted_share(&self) -> Option<f64> {
        Some(self.fit.into())
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let threat = samples.threat();
        let (offsets, zero) = (threat.of_offsets(), vec![0.0; samples.features()]);
        let length = self.step.length(threat, 2.5 / f64::from(self.steps));
        let (mut offset, mut sum) = (zero.clone(), zero.clone());
        let mut best = Best { misclassified: 0, offset: zero.clone() };
        let mut pulls = Pulls::new();
        samples.start_fitting();
        for _ in 0..self.steps {
            let mut misclassified = 0;
            sum.fill(0.0);
            samples.each(|mut spot| add(&offset, threat, &mut spot));
            samples.gradient(Loss::Margin, |step| {
                misclassified += u32::from(step.adversarial);
                let pull = pulls.of(step.loss);
                sum.iter_mut().zip(step.gradient).for_each(|(sum, g)| *sum += pull * *g);
            })?;
            pulls.end();
            best.note(misclassified, &offset);
            offsets.climb(&zero, &mut sum, length, &mut offset);
        }
        let mut misclassified = 0;
        samples.each(|mut spot| add(&offset, threat, &mut spot));
        samples.query_each(|answer| misclassified += u32::from(answer.margin < 0.0))?;
        best.note(misclassified, &offset);
        samples.start_judging();
        samples.each(|mut spot| add(&best.offset, threat, &mut spot));
        samples.query()
    }
}

/// Moves the point of a sample to where the offset leads, or to the nearest valid input.
fn add(offset: &[f32], threat: &Threat, spot: &mut Spot<'_>) {
    for ((p, x), offset) in spot.point.iter_mut().zip(spot.x).zip(offset) {
        *p = x + offset;
    }
    threat.project(spot.x, spot.point);
}

/// The offset that makes most samples misclassified.
struct Best {
    misclassified: u32,
    offset: Vec<f32>,
}

impl Best {
    /// Of two that are equally good the later one: it lies farther up.
    fn note(&mut self, misclassified: u32, offset: &[f32]) {
        if misclassified >= self.misclassified {
            self.misclassified = misclassified;
            self.offset.copy_from_slice(offset);
        }
    }
}
