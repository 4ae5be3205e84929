//! The basic iterative method.

use std::sync::LazyLock;

use assay_graph::Loss;

use crate::param::{Integer, Notation};
use crate::pgd::{ascend, step};
use crate::registry::{Description, Entry};
use crate::shared::KEEP_FIRST;
use crate::{Attack, Halt, Keep, Norm, Samples, Start, StepSize};

/// The basic iterative method (Kurakin et al., 2017): what [`Pgd`](crate::Pgd) does, from the image itself and in a few longer steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bim {
    /// Steps, one gradient each.
    pub steps: u32,
    /// Length of a step; by rule `eps / 4`.
    pub step: StepSize,
    /// Which adversarial sample is kept.
    pub keep: Keep,
}

const STEPS: Integer = Integer { name: "steps", default: 10, min: 1, max: 10_000, doc: "Steps, one gradient each." };
const STEP: Notation<StepSize> = step("eps / 4");

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "bim",
    summary: "Basic iterative method: a few steps along the gradient, from the image.",
    source: "Kurakin, Goodfellow, Bengio: Adversarial Examples in the Physical World, ICLR 2017 (workshop)",
    norms: &[Norm::Linf, Norm::L2, Norm::L1],
    needs_gradient: true,
    needs_eps: true,
    parameters: vec![STEPS.param(), STEP.param(), KEEP_FIRST.param()],
});

impl Bim {
    pub(crate) const ENTRY: Entry = Entry {
        description: &DESCRIPTION,
        parse: |arguments| {
            let step = STEP.read(arguments)?.unwrap_or(StepSize::Auto);
            Ok(Box::new(Self { steps: STEPS.read(arguments)?, step, keep: KEEP_FIRST.read(arguments)? }))
        },
    };
}

impl Default for Bim {
    fn default() -> Self {
        Self { steps: STEPS.default, step: StepSize::Auto, keep: KEEP_FIRST.default }
    }
}

impl Attack for Bim {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            (STEPS.name, self.steps.to_string()),
            (STEP.name, self.step.to_string()),
            (KEEP_FIRST.name, self.keep.name().to_owned()),
        ]
    }

    fn evaluations(&self) -> u64 {
        u64::from(self.steps) + 1
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let length = self.step.length(samples.threat(), 0.25);
        samples.keep(self.keep);
        samples.start(0, Start::Image);
        ascend(samples, self.steps, length, Loss::CrossEntropy)
    }
}
