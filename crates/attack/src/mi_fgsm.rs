//! The momentum iterative fast gradient sign method.

use std::sync::LazyLock;

use assay_graph::Loss;

use crate::param::{Decimal, Integer, Notation};
use crate::pgd::step;
use crate::registry::{Description, Entry};
use crate::rows::Rows;
use crate::shared::KEEP_FIRST;
use crate::{Attack, Halt, Keep, Norm, Samples, Start, StepSize};

/// The momentum iterative method (Dong et al., 2018): steps from the image along the direction that the gradients so far agree on, `m' = decay * m + g / |g|_1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MiFgsm {
    /// Steps, one gradient each.
    pub steps: u32,
    /// Length of a step; by rule `eps / steps`, so that the surface of the ball is reached by the last.
    pub step: StepSize,
    /// What is left of the momentum after a step.
    pub decay: f32,
    /// Which adversarial sample is kept.
    pub keep: Keep,
}

const STEPS: Integer = Integer { name: "steps", default: 10, min: 1, max: 10_000, doc: "Steps, one gradient each." };
const STEP: Notation<StepSize> = step("eps / steps");
const DECAY: Decimal = Decimal {
    name: "decay",
    default: 1.0,
    min: 0.0,
    max: 1.0,
    doc: "What is left of the momentum after a step: 0 is nothing, 1 gives all gradients the same weight.",
};

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "mi-fgsm",
    summary: "Momentum iterative FGSM: a few steps from the image, along the gradients so far; what it finds often misleads other models too.",
    source: "Dong, Liao, Pang, Su, Zhu, Hu, Li: Boosting Adversarial Attacks with Momentum, CVPR 2018",
    norms: &[Norm::Linf, Norm::L2, Norm::L1],
    needs_gradient: true,
    needs_eps: true,
    parameters: vec![STEPS.param(), STEP.param(), DECAY.param(), KEEP_FIRST.param()],
});

impl MiFgsm {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            let step = STEP.read(arguments)?.unwrap_or(StepSize::Auto);
            Ok(Box::new(Self {
                steps: STEPS.read(arguments)?,
                step,
                decay: DECAY.read(arguments)?,
                keep: KEEP_FIRST.read(arguments)?,
            }))
        },
    };
}

impl Default for MiFgsm {
    fn default() -> Self {
        Self { steps: STEPS.default, step: StepSize::Auto, decay: DECAY.default, keep: KEEP_FIRST.default }
    }
}

impl Attack for MiFgsm {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (STEPS.name, self.steps.to_string()),
            (STEP.name, self.step.to_string()),
            (DECAY.name, self.decay.to_string()),
            (KEEP_FIRST.name, self.keep.name().to_owned()),
        ]
    }

    fn evaluations(&self) -> u64 {
        u64::from(self.steps) + 1
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let threat = samples.threat();
        let length = self.step.length(threat, 1.0 / f64::from(self.steps));
        let mut momenta = Rows::zeros(samples);
        samples.keep(self.keep);
        samples.start(0, Start::Image);
        for _ in 0..self.steps {
            samples.gradient(Loss::CrossEntropy, |step| {
                let size: f64 = step.gradient.iter().map(|g| f64::from(g.abs())).sum();
                for (m, g) in momenta.row(step.sample).iter_mut().zip(step.gradient.iter_mut()) {
                    *m = self.decay * *m + (f64::from(*g) / size) as f32;
                    *g = *m;
                }
                threat.climb(step.x, step.gradient, length, step.point);
            })?;
        }
        samples.query()
    }
}
