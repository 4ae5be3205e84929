//! Labelled samples.

use assay_attack::{Bounds, SampleId};
use assay_runtime::Class;
use ndarray::{Array2, Axis};

use crate::DataError;
use crate::layout::layout;

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
    positions: Vec<u64>,
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
        Ok(Self { name, samples, labels, sample_shape, bounds, class_names, digest, positions: Vec::new() })
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

    /// Where each sample is in the data set that these were chosen from ([`Dataset::chosen`]); empty: they are its first ones, or all.
    #[must_use]
    pub fn positions(&self) -> &[u64] {
        &self.positions
    }

    /// The same samples at these positions of a larger data set.
    ///
    /// # Errors
    /// They are not as many as the samples, unless there are none.
    pub fn at(self, positions: Vec<u64>) -> Result<Self, DataError> {
        if !positions.is_empty() && positions.len() != self.len() {
            let (name, samples, found) = (self.name, self.labels.len(), positions.len());
            return Err(DataError::PositionCount { name, samples, positions: found });
        }
        Ok(Self { positions, ..self })
    }

    /// The samples, `[n, features]`, without what else is known of them.
    #[must_use]
    pub fn into_samples(self) -> Array2<f32> {
        self.samples
    }

    /// Some of the samples, in the order of `rows`, which know their positions. They have name and digest of the whole.
    ///
    /// # Errors
    /// No rows, or one that is not there.
    pub fn chosen(&self, rows: &[SampleId]) -> Result<Self, DataError> {
        let positions = rows.iter().map(|row| self.positions.get(row.0 as usize).copied().unwrap_or(row.0)).collect();
        Ok(Self { digest: self.digest.clone(), positions, ..self.subset(rows)? })
    }

    /// The samples in these rows, in the order given. The subset has the name of the whole, and no digest.
    ///
    /// # Errors
    /// No rows, or one that is not there.
    pub fn subset(&self, rows: &[SampleId]) -> Result<Self, DataError> {
        self.check(rows)?;
        let rows: Vec<usize> = rows.iter().map(|row| row.0 as usize).collect();
        Self::from_parts(Parts {
            name: self.name.clone(),
            samples: self.samples.select(Axis(0), &rows),
            labels: rows.iter().filter_map(|row| self.labels.get(*row).copied()).collect(),
            sample_shape: self.sample_shape.clone(),
            bounds: self.bounds,
            class_names: self.class_names.clone(),
            digest: String::new(),
        })
    }

    /// Whether all rows are there.
    pub(crate) fn check(&self, rows: &[SampleId]) -> Result<(), DataError> {
        let samples = self.len();
        match rows.iter().find(|row| row.0 >= samples as u64) {
            Some(row) => Err(DataError::NoSample { name: self.name.clone(), sample: row.0, samples }),
            None => Ok(()),
        }
    }

    /// Whether samples can be handed to a model whose samples have this shape: see [`laid_out`](crate::laid_out).
    #[must_use]
    pub fn fits(&self, shape: &[usize]) -> bool {
        layout(&self.sample_shape, shape).is_some()
    }
}
