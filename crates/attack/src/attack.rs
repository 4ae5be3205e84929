//! What every attack is.

use std::fmt;

use crate::{Cost, Description, Eps, Halt, Norm, Samples};

/// A procedure that looks for adversarial samples.
///
/// It only proposes points: [`Samples`] evaluates them, keeps what was found and retires what is finished.
pub trait Attack: Send + Sync + fmt::Debug {
    /// Its row of [`attacks`](crate::attacks).
    fn description(&self) -> &'static Description;

    /// Its parameters as text, in the order of the description: [`parse`](crate::parse) makes the same attack of them.
    fn settings(&self) -> Vec<(&'static str, String)>;

    /// The most evaluations of one sample, forward only or with the gradient.
    fn evaluations(&self) -> u64;

    /// The most that it costs to attack one sample, clean prediction and verification included: an evaluation that may be forward only or with the
    /// gradient counts as one with the gradient.
    fn worst_case(&self) -> Cost {
        let dearest = self.evaluations();
        let [queries, gradients] = if self.description().needs_gradient { [0, dearest] } else { [dearest, 0] };
        Cost { queries: queries + 3, gradients }
    }

    /// Whether eps must be finite: steps, starts or shapes follow from it.
    fn needs_eps(&self) -> bool {
        self.description().needs_eps
    }

    /// Whether it works in such a threat; if not, why, and what was expected.
    ///
    /// # Errors
    /// It is not defined in the norm, or needs a finite eps.
    fn check(&self, norm: Norm, eps: &Eps) -> Result<(), String> {
        let Description { name, norms, .. } = self.description();
        if !norms.contains(&norm) {
            let norms: Vec<_> = norms.iter().map(|n| n.name()).collect();
            return Err(format!("attack \"{name}\" works in {}, not in {norm}", norms.join(" and ")));
        }
        if self.needs_eps() && !eps.is_finite() {
            return Err(format!(
                "attack \"{name}\" needs a finite eps: expected a radius such as 8/255, got {eps}, which allows any valid input"
            ));
        }
        Ok(())
    }

    /// Fewest classes it is defined for.
    fn min_classes(&self) -> usize {
        2
    }

    /// Whether it can be aimed at a class, as a [`Goal`](crate::Goal) may demand; if not, why, and what was expected.
    ///
    /// # Errors
    /// It is for untargeted goals only.
    fn aims(&self) -> Result<(), String> {
        Ok(())
    }

    /// What it does differently from its publication where the model has so few classes, if it does.
    fn substitution(&self, _classes: usize) -> Option<String> {
        None
    }

    /// Whether it can change samples of this shape; if not, why, and what was expected.
    ///
    /// # Errors
    /// The samples are nothing that it can change.
    fn fits(&self, _sample_shape: &[usize]) -> Result<(), String> {
        Ok(())
    }

    /// The share of the samples that it is made from, the first ones of the job, if it is the same perturbation for all of them. Those are not judged; what becomes
    /// of the others depends on them, and not on one another.
    fn fitted_share(&self) -> Option<f64> {
        None
    }

    /// Attacks the samples.
    ///
    /// # Errors
    /// The run was stopped, which keeps what was found until then, or the model failed.
    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt>;
}
