//! Why a net cannot be made.

use assay_graph::{CanonicalError, TransformError};

use super::registry::FORMS;

/// A net that cannot be made: what is wrong, what was expected, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchitectureError {
    /// No net has this name.
    #[error("no architecture is called \"{name}\"; there are {}", FORMS.join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
    /// The strides do not fit the net.
    #[error("strides \"{found}\" of {name}; expected {slots} digits from 1 to 9, as in \"{default}\"")]
    Strides {
        /// Name of the net.
        name: String,
        /// What was given.
        found: String,
        /// What would fit.
        default: String,
        /// Number of strides.
        slots: usize,
    },
    /// What the net is made for is none.
    #[error(
        "{name} for images of {channels} channels of {height}x{width} pixels and {classes} classes; expected 1 to {most} of each, and two classes"
    )]
    Task {
        /// Name of the net.
        name: String,
        /// Channels.
        channels: usize,
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
        /// Classes.
        classes: usize,
        /// Largest number.
        most: usize,
    },
    /// Nothing is left of an image.
    #[error(
        "layer \"{layer}\" of {name}: a window of {kernel} does not fit {height}x{width} pixels; take larger images or smaller strides"
    )]
    TooSmall {
        /// Name of the net.
        name: String,
        /// Name of the layer.
        layer: String,
        /// Side of its window.
        kernel: usize,
        /// Rows that it gets.
        height: usize,
        /// Columns that it gets.
        width: usize,
    },
    /// More memory than the limit would be needed.
    #[error("{name} has more than {limit} weights; take a smaller net")]
    TooLarge {
        /// Name of the net.
        name: String,
        /// Most weights.
        limit: usize,
    },
    /// The normalisation does not fit.
    #[error(transparent)]
    Normalization(#[from] TransformError),
    /// The net is no valid model: a defect of assay.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
}
