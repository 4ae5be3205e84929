//! Means of several answers, for models that answer at random.

use assay_graph::Loss;
use assay_runtime::{Class, Evaluated};
use ndarray::Array2;

use super::{matrix, predicted};
use crate::{Halt, Samples};

impl Samples<'_> {
    /// Mean over the draws of the logits of the gathered rows. Each draw is a call of its own: a model may draw once for a whole batch.
    pub(super) fn mean_logits(&mut self, who: &[usize]) -> Result<Array2<f32>, Halt> {
        let mut mean = self.evaluate(who)?;
        if self.draws > 1 {
            self.notice(who, &mean);
            let share = (self.draws as f32).recip();
            mean *= share;
            for _ in 1..self.draws {
                let draw = self.evaluate(who)?;
                self.notice(who, &draw);
                mean.scaled_add(share, &draw);
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
        let draw = |samples: &mut Self| {
            let batch = matrix(&samples.gathered, samples.features)?;
            samples.oracle.gradient(&batch, loss, labels, targets, who)
        };
        let mut mean = draw(self)?;
        if self.draws > 1 {
            self.notice(who, &mean.logits);
            let share = (self.draws as f32).recip();
            mean.logits *= share;
            mean.gradient *= share;
            mean.loss.iter_mut().for_each(|loss| *loss *= share);
            for _ in 1..self.draws {
                let draw = draw(self)?;
                self.notice(who, &draw.logits);
                mean.logits.scaled_add(share, &draw.logits);
                mean.gradient.scaled_add(share, &draw.gradient);
                mean.loss.iter_mut().zip(draw.loss).for_each(|(mean, loss)| *mean += share * loss);
            }
        }
        Ok(mean)
    }

    /// Takes note of points that are adversarial in one draw: if they are not in the mean, they are no finds, but worth a flag.
    fn notice(&mut self, who: &[usize], logits: &Array2<f32>) {
        for (slot, (&i, logits)) in who.iter().zip(logits.rows()).enumerate() {
            let (x, point) = (&self.images[self.row(i)], &self.gathered[self.row(slot)]);
            let adversarial = predicted(&logits).is_some_and(|class| self.reached(i, class));
            self.states[i].seen |= adversarial && self.threat.allows(x, point);
        }
    }
}
