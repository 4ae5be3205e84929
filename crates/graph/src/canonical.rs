//! One form per operator, whatever opset the file was written in.

use crate::Model;

/// A model in which every node has the form of one opset.
#[derive(Clone, Debug)]
pub struct Canonical {
    pub(crate) model: Model,
}

impl Canonical {
    /// The model.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }
}
