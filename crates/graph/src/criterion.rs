//! What training minimises, as a graph on the logits.

use crate::{Emit, Loss, Rule, Value};

/// A function of the logits of a batch that a step of training minimises: a [`Loss`] without targets, or one of several
/// versions of each sample, as TRADES has it.
pub trait Criterion {
    /// Versions of each sample that it reads, for example a sample and its perturbation: one pass through the net for each. With
    /// the statistics of the batch they are normalised apart.
    fn views(&self) -> usize {
        1
    }

    /// Emits the loss on `logits`, f32 `[n, classes]` for each view, at `labels`, i64 `[n]`.
    ///
    /// # Errors
    /// It is not defined for so many classes.
    fn emit(&self, logits: &[Value], classes: usize, labels: &Value, e: &mut Emit<'_>) -> Rule<Minimand>;
}

/// What a [`Criterion`] emits.
#[derive(Clone, Debug)]
pub struct Minimand {
    /// Loss of each sample, f32 `[n]`.
    pub loss: Value,
    /// Derivative of the sum of the losses by the logits of each view, f32 `[n, classes]`.
    pub cotangents: Vec<Value>,
}

impl Criterion for Loss {
    fn emit(&self, logits: &[Value], classes: usize, labels: &Value, e: &mut Emit<'_>) -> Rule<Minimand> {
        let logits = logits.first().ok_or_else(|| crate::Cause::Malformed("a loss needs logits".into()))?;
        let seed = Loss::emit(*self, logits, classes, labels, None, e)?;
        Ok(Minimand { loss: seed.loss, cotangents: vec![seed.cotangent] })
    }
}
