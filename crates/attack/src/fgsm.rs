//! The fast gradient sign method.

use std::sync::LazyLock;

use assay_graph::Loss;

use crate::registry::{Description, Entry};
use crate::{Attack, Halt, Norm, Samples, Start};

/// One step of length eps along the steepest ascent of the cross-entropy: `x' = P(x + eps * sign(dL/dx))` for the maximum norm
/// (Goodfellow et al., 2015), the unit gradient in place of the sign for the Euclidean one (Miyato et al., 2017). For the sum of absolute changes a hundredth of the elements go equally far, as in a
/// step of `pgd`: those with the largest derivatives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fgsm;

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description {
    name: "fgsm",
    summary: "Fast gradient sign method: one step of length eps along the gradient.",
    source: "Goodfellow, Shlens, Szegedy: Explaining and Harnessing Adversarial Examples, ICLR 2015",
    norms: &[Norm::Linf, Norm::L2, Norm::L1],
    needs_gradient: true,
    needs_eps: true,
    parameters: Vec::new(),
});

impl Fgsm {
    pub(crate) const ENTRY: Entry = Entry { description: &DESCRIPTION, parse: |_| Ok(Box::new(Self)) };
}

impl Attack for Fgsm {
    fn description(&self) -> &'static Description {
        &DESCRIPTION
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn evaluations(&self) -> u64 {
        2
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        let threat = samples.threat();
        let length = threat.eps.down();
        samples.start(0, Start::Image);
        samples.gradient(Loss::CrossEntropy, |step| threat.climb(step.x, step.gradient, length, step.point))?;
        samples.query()
    }
}
