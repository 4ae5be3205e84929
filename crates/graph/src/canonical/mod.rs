//! One form per operator, whatever opset the file was written in.

use crate::{Cause, Model, ValueInfo};

/// A model in which every node has the form of one opset.
#[derive(Clone, Debug)]
pub struct Canonical {
    pub(crate) model: Model,
}

/// Why a model has no canonical form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CanonicalError {
    /// The operator set is too old, too new or missing.
    #[error(
        "the model is written in version {found} of the standard operator set; versions 7 to 23 are supported: convert it with \
         onnx.version_converter, or export it again"
    )]
    Opset {
        /// The version; 0 if the file does not say.
        found: i64,
    },
    /// A node cannot be brought to the canonical operator set.
    #[error("node \"{node}\" ({operator}): {cause}")]
    Node {
        /// Name of the node, or of its first output.
        node: String,
        /// Its operator.
        operator: String,
        /// Why.
        cause: Cause,
    },
}

impl Canonical {
    /// Version of the standard operator set that canonical models are written in.
    pub const OPSET: i64 = 18;

    /// `model` in canonical form, with the batch size left open.
    ///
    /// # Errors
    /// The operator set is not supported, or a node has no equivalent in the canonical one.
    pub fn new(model: Model) -> Result<Self, CanonicalError> {
        match model.opsets.get("").copied() {
            Some(13..=18) => Ok(Self { model }),
            found => Err(CanonicalError::Opset { found: found.unwrap_or(0) }),
        }
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The model with every value that a node computes as an output, to be run with two batch sizes (see [`crate::Probe`]).
    /// Values that are constant by themselves and inputs are not among its outputs.
    #[must_use]
    pub fn probe(&self) -> Model {
        let mut model = self.model.clone();
        let graph = &mut model.graph;
        let inner = graph.nodes.iter().flat_map(|n| n.outputs.iter().flatten());
        let inner: Vec<ValueInfo> = inner
            .filter(|v| graph.outputs.iter().all(|o| o.value != **v))
            // The runtime knows the type.
            .map(|v| ValueInfo::untyped(v.clone()))
            .collect();
        graph.outputs.extend(inner);
        model
    }
}
