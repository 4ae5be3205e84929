//! What can go wrong in training.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use assay_data::DataError;
use assay_graph::{ShapeError, TransformError};
use assay_runtime::{LoadError, RunError, SessionError};

/// A model that cannot be trained, or a run that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The model cannot be hosted.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The net's present weights are not those of its model.
    #[error("the net with its present weights: {0}")]
    Snapshot(#[from] ShapeError),
    /// A graph cannot be derived from it.
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// ONNX Runtime refused the graph of a step.
    #[error("the graph of a step: {0}")]
    Session(#[from] SessionError),
    /// A run of a graph failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The data cannot be read, or do not fit.
    #[error(transparent)]
    Data(#[from] DataError),
    /// There is no such net, or it does not fit the data.
    #[error(transparent)]
    Architecture(#[from] crate::ArchitectureError),
    /// The recipe makes no sense.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The state of the run cannot be kept, or not be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The model cannot be trained, or not with this data.
    #[error("the model cannot be trained: {0}")]
    Unfit(String),
    /// The loss, a gradient or a weight is no number any more.
    #[error(
        "{what} is not finite after step {step}: lower the learning rate, clip the gradients, or look at the data. The checkpoint is of the \
         epoch before"
    )]
    NotFinite {
        /// Which.
        what: String,
        /// Steps made before.
        step: u64,
    },
    /// Somebody asked to stop. The run goes on from the epoch that was finished last.
    #[error("stopped; the run goes on after epoch {epochs} when it is started again")]
    Stopped {
        /// Epochs that are done.
        epochs: u32,
    },
}

/// A recipe that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// It is not of the form of a recipe.
    #[error("the recipe cannot be read: {0}")]
    Form(String),
    /// A value is out of range.
    #[error("the recipe's `{field}`: expected {expected}")]
    Value {
        /// Which.
        field: String,
        /// What may stand there.
        expected: String,
    },
}

/// A checkpoint that cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("the checkpoint {}: {reason}", file.display())]
pub struct CheckpointError {
    file: PathBuf,
    reason: String,
}

impl CheckpointError {
    pub(crate) fn new(file: &Path, reason: impl Display) -> Self {
        Self { file: file.to_owned(), reason: reason.to_string() }
    }
}
