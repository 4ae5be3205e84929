//! What attacks, audits and services know of a model.

use std::fmt;

use assay_graph::Loss;
use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

/// A class, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Class(pub u32);

impl Class {
    /// As an index into a row of logits.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the gradients of a model are, found out when it is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gradients {
    /// Exact, but for the stated conventions at kinks.
    Exact,
    /// Estimates: the model rounds on the way (quantisation, integer pixels), where the derivative is zero almost everywhere.
    /// Each node in the list passes the derivative on as if it did not round, and stops it where it saturates (a clipped
    /// straight-through estimator: Bengio et al., 2013). What an attack finds with them is verified by the rounding model
    /// itself; what it does not find says less than with exact gradients.
    StraightThrough(Vec<String>),
    /// Not available: the operator and node that stand in the way, and why. Logits and black-box attacks need none.
    Unavailable(String),
}

/// What a classifier is.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassifierSpec {
    /// Hexadecimal SHA-256 of the model's file; if it keeps tensors in other files, of that digest and theirs, in the order of
    /// their names.
    pub digest: String,
    /// Shape of one sample, without the batch dimension.
    pub sample_shape: Vec<usize>,
    /// Number of classes.
    pub classes: usize,
    /// Execution provider that runs it, for example `cpu` or `cuda:0`.
    pub provider: String,
    /// Whether its derivative is known.
    pub gradients: Gradients,
}

impl ClassifierSpec {
    /// Elements of one sample.
    #[must_use]
    pub fn features(&self) -> usize {
        self.sample_shape.iter().product()
    }
}

/// Logits, loss and gradient of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluated {
    /// `[n, classes]`.
    pub logits: Array2<f32>,
    /// Loss of each sample; empty where a cotangent was pulled back, which has none.
    pub loss: Vec<f32>,
    /// Derivative of each sample's loss with respect to that sample, or the product of its cotangent with the Jacobian,
    /// `[n, features]`.
    pub gradient: Array2<f32>,
}

/// The function of each sample's logits that is differentiated.
#[derive(Clone, Copy, Debug)]
pub enum Objective<'a> {
    /// A loss.
    Loss {
        /// Which.
        loss: Loss,
        /// True class of each sample.
        labels: &'a [Class],
        /// Target class of each sample; read by the losses that need one.
        targets: Option<&'a [Class]>,
    },
    /// The product of the logits with a constant, `[n, classes]`: its gradient is the vector–Jacobian product.
    Cotangent(ArrayView2<'a, f32>),
}

/// A model that maps a batch of samples to logits.
///
/// A batch is `[n, features]`: each row is one sample, flattened in row-major order, in the model's input range. Any `n` is
/// accepted, zero too. Results are per sample and do not depend on the other rows beyond the runtime's rounding. Calls may
/// come from several threads; each blocks until its result is there.
pub trait Classifier: Send + Sync {
    /// What it is.
    fn spec(&self) -> &ClassifierSpec;

    /// Logits, `[n, classes]`. They may be infinite or NaN if the model makes them so: callers decide what that means.
    ///
    /// # Errors
    /// The batch has the wrong width, or the runtime failed.
    fn logits(&self, x: ArrayView2<'_, f32>) -> Result<Array2<f32>, RunError>;

    /// Logits, loss and gradient of the loss at `labels`; `targets` is read by the losses that need one.
    ///
    /// # Errors
    /// As [`Classifier::logits`]; labels or targets are missing or out of range; the loss needs more classes; the model has
    /// no gradient.
    fn gradient(
        &self,
        x: ArrayView2<'_, f32>,
        loss: Loss,
        labels: &[Class],
        targets: Option<&[Class]>,
    ) -> Result<Evaluated, RunError>;

    /// Logits, and `Jᵀ w` for the cotangent `w` of each sample, `[n, classes]`, and the Jacobian `J` of its logits.
    ///
    /// # Errors
    /// As [`Classifier::logits`]; the cotangent has another shape or a value that is not finite; the model has no gradient.
    fn vjp(&self, x: ArrayView2<'_, f32>, cotangent: ArrayView2<'_, f32>) -> Result<Evaluated, RunError>;
}

/// A batch that could not be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The caller's batch, labels or targets do not fit the model. The text says what was expected.
    #[error("{0}")]
    Invalid(String),
    /// The model has no gradient: the operator and node that stand in the way.
    #[error("no gradient: {0}; black-box attacks work without one")]
    NoGradient(String),
    /// The runtime failed.
    #[error("ONNX Runtime failed: {0}")]
    Runtime(String),
    /// The server that hosts the model did not answer, or not as it should. The text says what happened.
    #[error("{0}")]
    Endpoint(String),
    /// As many batches wait for the model as it allows. Try again later.
    #[error("the model is busy: as many batches wait for it as it allows")]
    Busy,
    /// The caller gave up while the batch waited.
    #[error("the batch was cancelled")]
    Cancelled,
    /// The model was unloaded while the call waited.
    #[error("the model was unloaded")]
    Unloaded,
}
