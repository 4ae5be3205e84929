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
        "{}: not a data set: {reason}; give a folder with an IDX pair, with batches of CIFAR, with Parquet files or with images, or an .npz, or an .npy with labels",
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
    /// Samples do not have one position each.
    #[error("data set \"{name}\" has {samples} samples and {positions} positions; give one for each, or none")]
    PositionCount {
        /// Data set.
        name: String,
        /// Number of samples.
        samples: usize,
        /// Number of positions.
        positions: usize,
    },
    /// There are no samples.
    #[error("data set \"{name}\" is empty; at least one sample is needed")]
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
    /// Too many samples would be set aside for validation.
    #[error("{count} validation samples of {samples}: nothing is left to train on; ask for fewer")]
    Holdout {
        /// Samples that were asked for.
        count: usize,
        /// Samples there are.
        samples: usize,
    },
    /// A sample was asked for that is not there.
    #[error("data set \"{name}\" has no sample {sample}; its {samples} samples count from 0")]
    NoSample {
        /// Data set.
        name: String,
        /// The sample.
        sample: u64,
        /// Number of samples.
        samples: usize,
    },
    /// What cannot be augmented.
    #[error("samples of shape {shape:?} are no images; crops and flips are of [c, h, w] or [h, w]: train without them")]
    Augment {
        /// Shape of a sample.
        shape: Vec<usize>,
    },
    /// The padding of a crop is wider than the image.
    #[error("padding of {pad} pixels around images of {width}x{height}; expected less than the shorter side")]
    Pad {
        /// Padding.
        pad: usize,
        /// Rows of an image.
        height: usize,
        /// Columns of an image.
        width: usize,
    },
    /// Batches cannot be made ahead.
    #[error("no thread for the batches of an epoch: {0}; end other work on this machine")]
    Thread(std::io::Error),
    /// A batch was not made.
    #[error("making a batch failed: {reason}; this is a defect of assay, please report it")]
    Prefetch {
        /// Words of the panic.
        reason: String,
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
