//! Data sets: labelled samples in memory, read from the formats that people have.
//!
//! | source | what is accepted |
//! |---|---|
//! | IDX | `*images*idx3-ubyte[.gz]` and `*labels*idx1-ubyte[.gz]`: their folder, or the images file with the labels beside it |
//! | NPZ | one file with `images`, `x_test`, `x` or `input`, and `labels`, `y_test`, `y` |
//! | NPY | two files: images, and labels that are named or found beside them |
//! | corrupted images | one severity of an NPY file as in CIFAR-10-C: five of them follow one another, `labels.npy` is beside it |
//! | folder | one subfolder per class with PNG and JPEG files, or files and a `labels.csv` of `file,label` |
//!
//! Bytes become `value / 255`; floats must be in `[0, 1]` already. Sizes in headers are checked before memory is taken.

mod array;
mod corrupted;
mod error;
mod folder;
mod idx;
mod npy;
mod picture;
mod source;

use assay_attack::Bounds;
use assay_runtime::Class;
use ndarray::{Array2, ArrayView2, CowArray, Ix2};

pub use corrupted::Severity;
pub use error::DataError;
pub use picture::decode_image;
pub use source::DataSource;

/// Most memory that the samples of one data set may take, in bytes: 4 GiB.
pub(crate) const MAX_BYTES: u64 = 4 << 30;

/// Labelled samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    name: String,
    samples: Array2<f32>,
    labels: Vec<Class>,
    sample_shape: Vec<usize>,
    bounds: Bounds,
    class_names: Vec<String>,
    digest: String,
}

/// What a [`Dataset`] is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    /// What reports call it.
    pub name: String,
    /// `[n, features]`: each row is one sample, flattened in row-major order.
    pub samples: Array2<f32>,
    /// True class of each sample.
    pub labels: Vec<Class>,
    /// Shape of one sample, for example `[1, 28, 28]` (channels first).
    pub sample_shape: Vec<usize>,
    /// Range of the values.
    pub bounds: Bounds,
    /// Class names in order; empty if unknown.
    pub class_names: Vec<String>,
    /// Hexadecimal SHA-256 that identifies the data; empty if unknown.
    pub digest: String,
}

impl Dataset {
    /// Checks that the parts fit each other.
    ///
    /// # Errors
    /// No samples; as many labels as samples are missing; the shape does not fit the rows; a value is outside the range or
    /// not a number; a label has no name though names are given.
    pub fn from_parts(parts: Parts) -> Result<Self, DataError> {
        let Parts { name, samples, labels, sample_shape, bounds, class_names, digest } = parts;
        let (n, features) = samples.dim();
        if n == 0 {
            return Err(DataError::Empty { name });
        }
        if labels.len() != n {
            return Err(DataError::LabelCount { name, samples: n, labels: labels.len() });
        }
        let elements = sample_shape.iter().try_fold(1_usize, |product, &d| product.checked_mul(d));
        if sample_shape.is_empty() || features == 0 || elements != Some(features) {
            return Err(DataError::Shape { name, shape: sample_shape, features });
        }
        if let Some(((sample, _), &value)) = samples.indexed_iter().find(|(_, v)| !bounds.contain(**v)) {
            return Err(DataError::Value { name, sample, value, low: bounds.low(), high: bounds.high() });
        }
        if let Some(sample) = labels.iter().position(|l| !class_names.is_empty() && l.index() >= class_names.len()) {
            let label = labels.get(sample).map_or(0, |l| l.0);
            return Err(DataError::UnnamedClass { name, sample, label, classes: class_names.len() });
        }
        Ok(Self { name, samples, labels, sample_shape, bounds, class_names, digest })
    }

    /// What reports call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same data under another name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// `[n, features]`: each row is one sample, flattened in row-major order; values in [`Dataset::bounds`].
    #[must_use]
    pub fn samples(&self) -> &Array2<f32> {
        &self.samples
    }

    /// Number of samples, at least 1.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a data set is never empty")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// True class of each sample.
    #[must_use]
    pub fn labels(&self) -> &[Class] {
        &self.labels
    }

    /// Shape of one sample.
    #[must_use]
    pub fn sample_shape(&self) -> &[usize] {
        &self.sample_shape
    }

    /// Range of the values: `[0, 1]` for data from files.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Class names in order; empty if unknown.
    #[must_use]
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Hexadecimal SHA-256 that identifies the data; empty if unknown. For data from files it is that of the listing which
    /// `sha256sum FILE...` prints for them, names relative to their folder.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Whether samples can be handed to a model whose samples have this shape: see [`laid_out`].
    #[must_use]
    pub fn fits(&self, shape: &[usize]) -> bool {
        layout(&self.sample_shape, shape).is_some()
    }
}

/// Samples of shape `from`, one in each row, as a model that takes samples of shape `to` wants them; `None` if they do not fit.
///
/// They fit as they are where the shapes are equal once dimensions of size 1 are left out, or where `to` is a flat vector of as
/// many elements. Images of three channels are reordered between `[3, h, w]` and `[h, w, 3]`, where the shapes say so.
#[must_use]
pub fn laid_out<'a>(samples: &ArrayView2<'a, f32>, from: &[usize], to: &[usize]) -> Option<CowArray<'a, f32, Ix2>> {
    let Layout::Permuted { shape, axes } = layout(from, to)? else { return Some((*samples).into()) };
    let n = samples.nrows();
    let images = samples.to_shape((n, shape[0], shape[1], shape[2])).ok()?;
    let images = images.permuted_axes([0, axes[0] + 1, axes[1] + 1, axes[2] + 1]);
    let rows = images.as_standard_layout().into_owned().into_shape_with_order((n, samples.ncols())).ok()?;
    Some(rows.into())
}

/// How elements move from one shape to another.
enum Layout {
    Same,
    /// Samples of `shape` with its dimensions in the order `axes`.
    Permuted {
        shape: [usize; 3],
        axes: [usize; 3],
    },
}

fn layout(from: &[usize], to: &[usize]) -> Option<Layout> {
    let (ours, theirs) = (squeezed(from), squeezed(to));
    let flat = theirs.len() <= 1 && to.iter().product::<usize>() == from.iter().product::<usize>();
    match (from, to) {
        _ if ours == theirs || flat => Some(Layout::Same),
        (&[3, h, w], &[a, b, 3]) if (h, w) == (a, b) => Some(Layout::Permuted { shape: [3, h, w], axes: [1, 2, 0] }),
        (&[h, w, 3], &[3, a, b]) if (h, w) == (a, b) => Some(Layout::Permuted { shape: [h, w, 3], axes: [2, 0, 1] }),
        _ => None,
    }
}

/// A shape without its dimensions of size 1.
fn squeezed(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|&d| d != 1).collect()
}
