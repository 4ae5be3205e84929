//! Why a run could not be carried out.

use assay_runtime::RunError;

/// A run that has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttackError {
    /// The job contradicts itself, the model or the attack. The text says where, and what was expected.
    #[error("{0}")]
    Invalid(String),
    /// The attack needs a gradient and the model has none.
    #[error("attack \"{attack}\" needs the model's gradient, which is not available: {reason}")]
    NoGradient {
        /// The attack.
        attack: &'static str,
        /// The operator and node that stand in the way.
        reason: String,
    },
    /// The model could not be called.
    #[error(transparent)]
    Model(#[from] RunError),
}
