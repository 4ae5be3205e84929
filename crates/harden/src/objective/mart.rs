//! MART.

use assay_graph::{Criterion, DataType, Emit, Loss, Minimand, Rule, Value};
use assay_runtime::RunError;
use ndarray::Array2;

use super::divergence::{Divergence, flat, times};
use super::{Attacker, Objective};
use crate::Perturbation;
use crate::trainer::Batch;

/// `-log q_y - log(1 - max_{k≠y} q_k) + weight KL(p ‖ q) (1 - p_y)` with `p = p(x)` and `q = p(x')` (Wang et al., Improving
/// Adversarial Robustness Requires Revisiting Misclassified Examples, ICLR 2020): samples that are misclassified as they are
/// count more.
#[derive(Clone, Debug, PartialEq)]
pub struct Mart {
    /// How samples are perturbed; the paper climbs the cross-entropy.
    pub perturbation: Perturbation,
    /// Weight of the divergence; the paper's is 5.
    pub weight: f32,
}

/// What the authors' program adds to `1 - q_k`, so that the logarithm is finite.
const ROOM: f64 = 1e-4;

impl Objective for Mart {
    fn name(&self) -> &'static str {
        "mart"
    }

    fn criterion(&self) -> &dyn Criterion {
        self
    }

    fn views(&mut self, batch: &Batch<'_>, attacker: &mut Attacker<'_>) -> Result<Vec<Array2<f32>>, RunError> {
        Ok(vec![batch.samples.to_owned(), attacker.perturb(&self.perturbation, batch)?])
    }
}

impl Criterion for Mart {
    fn views(&self) -> usize {
        2
    }

    fn emit(&self, logits: &[Value], classes: usize, labels: &Value, e: &mut Emit<'_>) -> Rule<Minimand> {
        let perturbed = Criterion::emit(&Loss::CrossEntropy, &logits[1..], classes, labels, e)?;
        let Divergence { p, q, value, by_z, by_q_logits } = Divergence::emit(&logits[0], &logits[1], e);

        let all: Vec<i64> = (0..).take(classes).collect();
        let (all, axis) = (e.ints(&all), e.ints(&[1]));
        let label = e.op("Unsqueeze", &[labels, &axis]);
        let is_label = e.op("Equal", &[&all, &label]);
        let e_label = e.cast(&is_label, DataType::Bool, DataType::Float);

        // -log(1 - q_k) for the most probable other class k: its derivative by z' is q_k / (1 - q_k) (e_k - q).
        let zero = e.scalar(0.0, DataType::Float);
        let others = e.op("Where", &[&is_label, &zero, &q]);
        let other = e.op_with("ArgMax", &[&others], [("axis", 1.into())]);
        let q_other = e.op_with("GatherElements", &[&q, &other], [("axis", 1.into())]);
        let one = e.scalar(1.0 + ROOM, DataType::Float);
        let room = e.op("Sub", &[&one, &q_other]);
        let log = e.op("Log", &[&room]);
        let margin = e.op("Neg", &[&log]);
        let is_other = e.op("Equal", &[&all, &other]);
        let e_other = e.cast(&is_other, DataType::Bool, DataType::Float);
        let away = e.op("Sub", &[&e_other, &q]);
        let odds = e.op("Div", &[&q_other, &room]);
        let by_margin = e.op("Mul", &[&odds, &away]);

        // weight KL (1 - p_y)
        let p_label = e.op_with("GatherElements", &[&p, &label], [("axis", 1.into())]);
        let one = e.scalar(1.0, DataType::Float);
        let doubt = e.op("Sub", &[&one, &p_label]);
        let doubt = times(self.weight, &doubt, e);
        let weighted = e.op("Mul", &[&value, &doubt]);
        let through_divergence = e.op("Mul", &[&doubt, &by_z]);
        // d p_y / d z = p_y (e_y - p)
        let surprise = e.op("Mul", &[&value, &p_label]);
        let surprise = times(self.weight, &surprise, e);
        let towards = e.op("Sub", &[&e_label, &p]);
        let through_doubt = e.op("Mul", &[&surprise, &towards]);
        let by_perturbed = e.op("Mul", &[&doubt, &by_q_logits]);

        let extra = e.op("Add", &[&margin, &weighted]);
        let extra = flat(&extra, e);
        let pushed = e.op("Add", &[&perturbed.cotangents[0], &by_margin]);
        Ok(Minimand {
            loss: e.op("Add", &[&perturbed.loss, &extra]),
            cotangents: vec![
                e.op("Sub", &[&through_divergence, &through_doubt]),
                e.op("Add", &[&pushed, &by_perturbed]),
            ],
        })
    }
}
