//! What can be wrong with data.

use std::path::PathBuf;

use assay_attack::BoundsError;

/// Data that could not be used: what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file system refused.
    #[error("{}: {source}; check that the path exists and can be read", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// Reason.
        source: std::io::Error,
    },
    /// The path is none of the accepted sources.
    #[error(
        "{}: not a data set: {reason}; give a folder with an IDX pair, an .npz, an .npy with labels, or a folder of images",
        path.display()
    )]
    Unrecognised {
        /// File or folder.
        path: PathBuf,
        /// What was looked for.
        reason: String,
    },
    /// Labels were not found.
    #[error("{}: no labels found beside it ({expected}); name the file that holds them", path.display())]
    NoLabels {
        /// File with the images.
        path: PathBuf,
        /// What was looked for.
        expected: String,
    },
    /// The content is not what the format demands.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// File.
        path: PathBuf,
        /// What is wrong, what was expected, and what to do.
        reason: String,
    },
    /// More memory than the limit would be needed.
    #[error(
        "{}: {samples} samples of {features} values need more than {} GiB; ask for fewer samples", path.display(), limit >> 30
    )]
    TooLarge {
        /// File or folder.
        path: PathBuf,
        /// Samples that were asked for.
        samples: u64,
        /// Values of one sample.
        features: u64,
        /// Limit in bytes.
        limit: u64,
    },
    /// There are no samples.
    #[error("data set \"{name}\" is empty; an audit needs at least one sample")]
    Empty {
        /// Data set.
        name: String,
    },
    /// Labels and samples differ in number.
    #[error("data set \"{name}\" has {samples} samples but {labels} labels; there must be one label per sample")]
    LabelCount {
        /// Data set.
        name: String,
        /// Samples.
        samples: usize,
        /// Labels.
        labels: usize,
    },
    /// The sample shape does not describe a row.
    #[error("data set \"{name}\": sample shape {shape:?} does not describe the {features} values of a sample")]
    Shape {
        /// Data set.
        name: String,
        /// Shape that was given.
        shape: Vec<usize>,
        /// Values of one row.
        features: usize,
    },
    /// The range is not one.
    #[error(transparent)]
    Bounds(#[from] BoundsError),
    /// A value is outside the range, infinite or not a number.
    #[error(
        "data set \"{name}\", sample {sample}: value {value} is outside [{low}, {high}]; scale the data to that range"
    )]
    Value {
        /// Data set.
        name: String,
        /// Its position, from 0.
        sample: usize,
        /// The value.
        value: f32,
        /// Lower end.
        low: f32,
        /// Upper end.
        high: f32,
    },
    /// A label has no class name.
    #[error("data set \"{name}\", sample {sample}: label {label} has no name; there are {classes} class names")]
    UnnamedClass {
        /// Data set.
        name: String,
        /// Its position, from 0.
        sample: usize,
        /// The label.
        label: u32,
        /// Number of class names.
        classes: usize,
    },
    /// A single image does not fit the model.
    #[error("{what}: {reason}")]
    Image {
        /// File name or other origin.
        what: String,
        /// What is wrong, what was expected, and what to do.
        reason: String,
    },
}

impl DataError {
    pub(crate) fn malformed(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Malformed { path: path.into(), reason: reason.into() }
    }

    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }
}
