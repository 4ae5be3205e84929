//! What every attack is.

use std::fmt;

use crate::suite::Contents;
use crate::{Description, Halt, Samples};

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

    /// Whether it can change samples of this shape; if not, why, and what was expected.
    ///
    /// # Errors
    /// The samples are nothing that it can change.
    fn fits(&self, _sample_shape: &[usize]) -> Result<(), String> {
        Ok(())
    }

    /// What it consists of, if it is a suite.
    fn contents(&self) -> Option<&'static Contents> {
        None
    }

    /// Attacks the samples.
    ///
    /// # Errors
    /// The run was stopped, which keeps what was found until then, or the model failed.
    fn run(&self, samples: &mut Samples<'_>) -> Result<(), Halt>;
}
