//! Attacks that are sequences of others.

use std::fmt;
use std::sync::LazyLock;

use crate::registry::{Description, Entry};
use crate::{Apgd, ApgdTargeted, Attack, Fab, Halt, Norm, Samples, Square};

/// Attacks one after the other, each on the samples that withstood the ones before, from the clean sample. A suite has no parameters:
/// its name says what was done.
pub struct Suite {
    description: &'static LazyLock<Description>,
    parts: Vec<Box<dyn Attack>>,
}

static AUTOATTACK_STANDARD: LazyLock<Description> = LazyLock::new(|| Description {
    name: "autoattack-standard",
    summary: "AutoAttack, version standard: apgd (cross-entropy), apgd-t (9 classes), fab-t (9 classes), square (5,000 queries).",
    source: "Croce, Hein: Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks, ICML 2020",
    norms: &[Norm::Linf, Norm::L2],
    needs_gradient: true,
    needs_eps: true,
    parameters: Vec::new(),
});

impl Suite {
    pub(crate) const AUTOATTACK_STANDARD: Entry =
        Entry { description: &AUTOATTACK_STANDARD, parse: |_| Ok(Box::new(Self::autoattack_standard())) };

    /// The four attacks of AutoAttack (Croce and Hein, 2020) with the parameters of its version `standard`.
    #[must_use]
    pub fn autoattack_standard() -> Self {
        Self {
            description: &AUTOATTACK_STANDARD,
            parts: vec![
                Box::new(Apgd::default()),
                Box::new(ApgdTargeted::default()),
                Box::new(Fab::default()),
                Box::new(Square::default()),
            ],
        }
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite").field("name", &self.description.name).field("parts", &self.parts).finish()
    }
}

impl Attack for Suite {
    fn description(&self) -> &'static Description {
        self.description
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn evaluations(&self) -> u64 {
        self.parts.iter().map(|part| part.evaluations()).sum()
    }

    fn min_classes(&self) -> usize {
        self.parts.iter().map(|part| part.min_classes()).max().unwrap_or(2)
    }

    fn fits(&self, sample_shape: &[usize]) -> Result<(), String> {
        self.parts.iter().try_for_each(|part| part.fits(sample_shape))
    }

    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt> {
        for part in &self.parts {
            samples.begin(&**part);
            part.run(samples)?;
        }
        Ok(())
    }
}
