//! Why nothing could be certified.

use assay_attack::AttackError;
use assay_graph::{CanonicalError, TransformError};
use assay_runtime::{LoadError, ProbeError, RunError, SessionError};

/// A job that was not done. What concerns one sample only is in its certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertifyError {
    /// The model cannot be hosted.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The job does not fit the model. The text says what was expected.
    #[error("{0}")]
    Invalid(String),
    /// The model has no bounds: the transformation, the node and the operator that stand in the way.
    #[error("no certificate: {0}")]
    Unsupported(#[from] TransformError),
    /// A derived graph could not be differentiated: its form.
    #[error("no certificate: the graph of bounds: {0}")]
    Form(#[from] CanonicalError),
    /// A derived graph could not be differentiated: its shapes.
    #[error("no certificate: the graph of bounds: {0}")]
    Probe(#[from] ProbeError),
    /// ONNX Runtime refused a derived graph, or the provider is not available.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A run failed, or was cancelled.
    #[error(transparent)]
    Run(#[from] RunError),
    /// An attack that looked for a counterexample failed.
    #[error(transparent)]
    Attack(#[from] AttackError),
    /// A graph of bounds does not give the model's own numbers where there is nothing to bound. Every certificate would be worthless.
    #[error(
        "the graph of {graph} gives {found} for a single point where the model gives {expected}: this is a defect of assay, \
         please report it with the model"
    )]
    Unfaithful {
        /// The graph.
        graph: String,
        /// Its number.
        found: f32,
        /// The model's.
        expected: f32,
    },
}
