//! Errors: what was wrong, where, what was expected and what to do.

use crate::Node;

/// Result of an operator's rule. The walk adds the transformation and the node to make a [`TransformError`].
pub type Rule<T> = Result<T, Cause>;

/// What callers may match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The operator has no rule for this transformation.
    NoRule,
    /// The operator has a rule, but not for this attribute, type or shape.
    Unsupported,
    /// The model contradicts itself or the ONNX specification.
    Malformed,
}

/// Why a rule could not be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The operator has no rule.
    #[error("no rule for this operator; remove it from the model or use a method that does not need it")]
    NoRule,
    /// The operator has a rule, but not for this case. The text says which case, and what is supported.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// The node contradicts the ONNX specification. The text says how.
    #[error("malformed: {0}")]
    Malformed(String),
}

impl Cause {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoRule => Kind::NoRule,
            Self::Unsupported(_) => Kind::Unsupported,
            Self::Malformed(_) => Kind::Malformed,
        }
    }
}

/// A transformation that could not be done, and the node that stands in its way, if it is a single one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{transform}: {}{cause}", self.place())]
pub struct TransformError {
    pub(crate) transform: &'static str,
    pub(crate) node: String,
    pub(crate) operator: String,
    pub(crate) cause: Cause,
}

impl TransformError {
    /// The error of `node` in `transform`. A node without a name is called by its first output.
    pub(crate) fn at(transform: &'static str, node: &Node, cause: Cause) -> Self {
        Self { transform, node: node.label().to_owned(), operator: node.operator.clone(), cause }
    }

    /// The error of the model as a whole in `transform`.
    pub(crate) fn of_model(transform: &'static str, cause: Cause) -> Self {
        Self { transform, node: String::new(), operator: String::new(), cause }
    }

    fn place(&self) -> String {
        if self.operator.is_empty() { String::new() } else { format!("node \"{}\" ({}): ", self.node, self.operator) }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.cause.kind()
    }

    /// Name of the node, or of its first output; empty if the model as a whole is at fault.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Operator of the node; empty if the model as a whole is at fault.
    #[must_use]
    pub fn operator(&self) -> &str {
        &self.operator
    }
}
