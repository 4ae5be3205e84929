//! Means of several answers, for models that answer at random.

use assay_graph::Loss;
use assay_runtime::{Class, Evaluated};
use ndarray::Array2;

use super::matrix;
use crate::{Halt, Samples};

impl Samples<'_> {
    /// Mean over the draws of the logits of the gathered rows. Each draw is a call of its own: a model may draw once for a whole batch.
    pub(super) fn mean_logits(&mut self, who: &[usize]) -> Result<Array2<f32>, Halt> {
        let mut mean = self.evaluate(who)?;
        if self.draws > 1 {
            let share = (self.draws as f32).recip();
            mean *= share;
            for _ in 1..self.draws {
                mean.scaled_add(share, &self.evaluate(who)?);
            }
        }
        Ok(mean)
    }

    /// Mean over the draws of logits, losses and gradients of the gathered rows, as [`Samples::mean_logits`].
    pub(super) fn mean_gradient(
        &mut self,
        loss: Loss,
        labels: &[Class],
        targets: Option<&[Class]>,
        who: &[usize],
    ) -> Result<Evaluated, Halt> {
        let batch = matrix(&self.gathered, self.features)?;
        let mut mean = self.oracle.gradient(&batch, loss, labels, targets, who)?;
        if self.draws > 1 {
            let share = (self.draws as f32).recip();
            mean.logits *= share;
            mean.gradient *= share;
            mean.loss.iter_mut().for_each(|loss| *loss *= share);
            for _ in 1..self.draws {
                let draw = self.oracle.gradient(&batch, loss, labels, targets, who)?;
                mean.logits.scaled_add(share, &draw.logits);
                mean.gradient.scaled_add(share, &draw.gradient);
                mean.loss.iter_mut().zip(draw.loss).for_each(|(mean, loss)| *mean += share * loss);
            }
        }
        Ok(mean)
    }
}
