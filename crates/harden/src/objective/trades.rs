//! TRADES.

use assay_graph::{Criterion, Emit, Loss, Minimand, Rule, Value};
use assay_runtime::RunError;
use ndarray::Array2;

use super::divergence::{Divergence, flat, times};
use super::{Attacker, Objective};
use crate::Perturbation;
use crate::trainer::Batch;

/// `CE(f(x), y) + beta KL(p(x) ‖ p(x'))` (Zhang et al., Theoretically Principled Trade-off between Robustness and Accuracy, ICML
/// 2019). The gradient goes through both views.
#[derive(Clone, Debug, PartialEq)]
pub struct Trades {
    /// How samples are perturbed; the paper climbs the divergence, from a little normal noise.
    pub perturbation: Perturbation,
    /// Weight of the divergence; the paper's is 6.
    pub beta: f32,
}

impl Objective for Trades {
    fn name(&self) -> &'static str {
        "trades"
    }

    fn criterion(&self) -> &dyn Criterion {
        self
    }

    fn views(&mut self, batch: &Batch<'_>, attacker: &mut Attacker<'_>) -> Result<Vec<Array2<f32>>, RunError> {
        Ok(vec![batch.samples.to_owned(), attacker.perturb(&self.perturbation, batch)?])
    }
}

impl Criterion for Trades {
    fn views(&self) -> usize {
        2
    }

    fn emit(&self, logits: &[Value], classes: usize, labels: &Value, e: &mut Emit<'_>) -> Rule<Minimand> {
        let natural = Criterion::emit(&Loss::CrossEntropy, &logits[..1], classes, labels, e)?;
        let divergence = Divergence::emit(&logits[0], &logits[1], e);
        let weighted = times(self.beta, &divergence.value, e);
        let weighted = flat(&weighted, e);
        let by_z = times(self.beta, &divergence.by_z, e);
        Ok(Minimand {
            loss: e.op("Add", &[&natural.loss, &weighted]),
            cotangents: vec![
                e.op("Add", &[&natural.cotangents[0], &by_z]),
                times(self.beta, &divergence.by_q_logits, e),
            ],
        })
    }
}
