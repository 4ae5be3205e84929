//! Adversarial logit pairing.

use assay_graph::{Criterion, Emit, Loss, Minimand, Rule, Value};
use assay_runtime::RunError;
use ndarray::Array2;

use super::divergence::{flat, sum, times};
use super::{Attacker, Objective};
use crate::Perturbation;
use crate::trainer::Batch;

/// `CE(f(x), y) + CE(f(x'), y) + weight mean((f(x') - f(x))²)` over the classes (Kannan, Kurakin and Goodfellow, Adversarial Logit
/// Pairing, 2018).
#[derive(Clone, Debug, PartialEq)]
pub struct Alp {
    /// How samples are perturbed.
    pub perturbation: Perturbation,
    /// Weight of the pairing, for example 0.5.
    pub weight: f32,
}

impl Objective for Alp {
    fn name(&self) -> &'static str {
        "alp"
    }

    fn criterion(&self) -> &dyn Criterion {
        self
    }

    fn views(&mut self, batch: &Batch<'_>, attacker: &mut Attacker<'_>) -> Result<Vec<Array2<f32>>, RunError> {
        Ok(vec![batch.samples.to_owned(), attacker.perturb(&self.perturbation, batch)?])
    }
}

impl Criterion for Alp {
    fn views(&self) -> usize {
        2
    }

    fn emit(&self, logits: &[Value], classes: usize, labels: &Value, e: &mut Emit<'_>) -> Rule<Minimand> {
        let natural = Criterion::emit(&Loss::CrossEntropy, &logits[..1], classes, labels, e)?;
        let perturbed = Criterion::emit(&Loss::CrossEntropy, &logits[1..], classes, labels, e)?;
        let share = self.weight / classes.max(1) as f32;
        let apart = e.op("Sub", &[&logits[1], &logits[0]]);
        let squares = e.op("Mul", &[&apart, &apart]);
        let squares = sum(&squares, e);
        let pairing = times(share, &squares, e);
        let pairing = flat(&pairing, e);
        let pull = times(2.0 * share, &apart, e);
        let both = e.op("Add", &[&natural.loss, &perturbed.loss]);
        Ok(Minimand {
            loss: e.op("Add", &[&both, &pairing]),
            cotangents: vec![
                e.op("Sub", &[&natural.cotangents[0], &pull]),
                e.op("Add", &[&perturbed.cotangents[0], &pull]),
            ],
        })
    }
}
