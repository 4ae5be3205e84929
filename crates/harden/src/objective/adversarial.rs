//! Adversarial training.

use assay_graph::{Criterion, Loss};
use assay_runtime::RunError;
use ndarray::Array2;

use super::{Attacker, Objective};
use crate::Perturbation;
use crate::trainer::Batch;

/// The cross-entropy of perturbed samples: with several steps from a random point PGD training (Madry et al., 2018), with one of
/// 1.25 eps FGSM-RS (Wong, Rice and Kolter, Fast is better than free, 2020).
#[derive(Clone, Debug, PartialEq)]
pub struct Adversarial {
    /// How samples are perturbed.
    pub perturbation: Perturbation,
}

impl Objective for Adversarial {
    fn name(&self) -> &'static str {
        "adversarial"
    }

    fn criterion(&self) -> &dyn Criterion {
        &Loss::CrossEntropy
    }

    fn views(&mut self, batch: &Batch<'_>, attacker: &mut Attacker<'_>) -> Result<Vec<Array2<f32>>, RunError> {
        Ok(vec![attacker.perturb(&self.perturbation, batch)?])
    }
}
