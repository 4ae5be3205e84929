//! Where a data set comes from: finds out what a path is, and opens it.

mod array;
mod cifar;
mod corrupted;
mod digest;
mod folder;
mod format;
mod idx;
mod npy;
mod parquet;
mod picture;
mod split;
mod stack;

use std::fs;
use std::path::{Path, PathBuf};

use assay_attack::Bounds;
use assay_runtime::Class;
use ndarray::Array2;

use crate::{DataError, Dataset, Parts};
use array::{Array, Rows};
use format::Format;

pub use corrupted::Severity;
pub use picture::decode_image;
pub use split::Split;

/// Path of a data set, and of its labels where they are not found by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSource {
    /// Folder or file with the images.
    pub images: PathBuf,
    /// File with the labels; `None`: looked for beside the images. Batches of CIFAR and Parquet files hold their own.
    pub labels: Option<PathBuf>,
    /// Of a file of corrupted images, as those of CIFAR-10-C are, the severity to read.
    pub severity: Option<Severity>,
    /// Of a folder with training and test data, what to read.
    pub split: Split,
}

impl DataSource {
    /// A source of test data whose labels are found by themselves.
    #[must_use]
    pub fn new(images: impl AsRef<Path>) -> Self {
        Self { images: images.as_ref().to_owned(), labels: None, severity: None, split: Split::Test }
    }

    /// The same source, of which one severity is read.
    #[must_use]
    pub fn with_severity(self, severity: Option<Severity>) -> Self {
        Self { severity, ..self }
    }

    /// The same source, of which this split is read.
    #[must_use]
    pub fn with_split(self, split: Split) -> Self {
        Self { split, ..self }
    }
}

/// What was read.
struct Loaded {
    /// `[n, features]`.
    samples: Array2<f32>,
    sample_shape: Vec<usize>,
    labels: Vec<Class>,
    class_names: Vec<String>,
    /// Files that were read, in order, each with its name in the digest's listing.
    files: Vec<(PathBuf, String)>,
}

impl Dataset {
    /// Reads the first `limit` samples (`None`: all) of a source. Its name is that of the file or folder; of corrupted images it
    /// says the severity too, and that they are not assay's.
    ///
    /// # Errors
    /// The path is missing or no data set, labels are missing, or the content is malformed, too large or out of range.
    pub fn open(source: &DataSource, limit: Option<usize>) -> Result<Self, DataError> {
        let limit = limit.unwrap_or(usize::MAX);
        let (loaded, name) = match source.severity {
            Some(severity) => (corrupted::load(source, severity, limit)?, corrupted::name(&source.images, severity)),
            None => (load(source, limit)?, file_name(&source.images)),
        };
        Self::from_parts(Parts {
            name,
            samples: loaded.samples,
            labels: loaded.labels,
            sample_shape: loaded.sample_shape,
            bounds: Bounds::new(0.0, 1.0)?,
            class_names: loaded.class_names,
            digest: digest::of_listing(&loaded.files)?,
        })
    }
}

fn load(source: &DataSource, limit: usize) -> Result<Loaded, DataError> {
    let (path, rows) = (&source.images, Rows::First(limit));
    if fs::metadata(path).map_err(|e| DataError::io(path, e))?.is_dir() {
        return load_folder(source, limit);
    }
    match Format::of(path)? {
        Format::Zip => {
            let arrays = npy::read_npz(path, source.labels.is_none(), rows)?;
            match (arrays.labels, &source.labels) {
                (Some(labels), _) => joined(path, arrays.images, path, &labels, vec![listed(path)]),
                (None, Some(beside)) => {
                    let files = vec![listed(path), listed(beside)];
                    joined(path, arrays.images, beside, &read_array(beside, rows)?, files)
                }
                (None, None) => Err(no_labels(path, npy::LABEL_NAMES.join(", "))),
            }
        }
        Format::Npy if source.labels.is_none() && corrupted::is_named_so(path) => Err(corrupted::needs_severity(path)),
        Format::Idx | Format::Npy => pair(path, source.labels.as_deref(), rows),
        Format::Cifar => cifar::load(std::slice::from_ref(path), limit),
        Format::Parquet => parquet::load(std::slice::from_ref(path), limit),
        Format::Other => {
            Err(unrecognised(path, "the file is neither IDX, NPZ, NPY, Parquet nor a binary batch of CIFAR (.bin)"))
        }
    }
}

/// Reads a folder of whatever there is in it, by the names of its files.
fn load_folder(source: &DataSource, limit: usize) -> Result<Loaded, DataError> {
    let folder = &source.images;
    let files = entries(folder)?;
    let such = |wanted: fn(&Path) -> bool| -> Vec<PathBuf> {
        files.iter().filter(|path| path.is_file() && wanted(path)).cloned().collect()
    };
    let (idx, cifar, parquet) = (such(idx::is_images), such(cifar::is_batch), such(parquet::is_parquet));
    if !idx.is_empty() {
        return match source.split.among(folder, idx)?.as_slice() {
            [images] => pair(images, source.labels.as_deref(), Rows::First(limit)),
            several => {
                let names: Vec<_> = several.iter().map(|path| file_name(path)).collect();
                Err(unrecognised(folder, &format!("it holds several images files ({}); name one", names.join(", "))))
            }
        };
    }
    if !cifar.is_empty() {
        return cifar::load(&source.split.among(folder, cifar)?, limit);
    }
    if !parquet.is_empty() {
        return parquet::load(&source.split.among(folder, parquet)?, limit);
    }
    folder::load(folder, source.labels.as_deref(), limit)
}

/// Images in one file, labels in another.
fn pair(images: &Path, labels: Option<&Path>, rows: Rows) -> Result<Loaded, DataError> {
    let labels = labels.map_or_else(|| labels_beside(images), |path| Ok(path.to_owned()))?;
    let files = vec![listed(images), listed(&labels)];
    joined(images, read_array(images, rows)?, &labels, &read_array(&labels, rows)?, files)
}

fn joined(
    images_path: &Path,
    images: Array,
    labels_path: &Path,
    labels: &Array,
    files: Vec<(PathBuf, String)>,
) -> Result<Loaded, DataError> {
    if images.total != labels.total {
        let reason = format!("{} labels for {} images; there must be one label per image", labels.total, images.total);
        return Err(DataError::malformed(labels_path, reason));
    }
    let labels = labels.to_labels(labels_path)?;
    let (samples, sample_shape) = images.into_samples(images_path)?;
    Ok(Loaded { samples, sample_shape, labels, class_names: Vec::new(), files })
}

fn read_array(path: &Path, rows: Rows) -> Result<Array, DataError> {
    match Format::of(path)? {
        Format::Idx => idx::read(path, rows),
        Format::Npy => npy::read_npy(path, rows),
        _ => Err(unrecognised(path, "the file is neither IDX nor NPY")),
    }
}

/// The labels file that by its name belongs to an images file: `images` becomes `labels`, `x` becomes `y`.
fn labels_beside(images: &Path) -> Result<PathBuf, DataError> {
    let name = file_name(images);
    let mut candidates = Vec::new();
    if name.contains("images") {
        let labels = name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1");
        candidates.push(labels.strip_suffix(".gz").map_or_else(|| format!("{labels}.gz"), str::to_owned));
        candidates.push(labels);
    } else if let Some(rest) = name.strip_prefix('x') {
        candidates.push(format!("y{rest}"));
    }
    let found = candidates.iter().rev().map(|name| images.with_file_name(name)).find(|path| path.is_file());
    let expected =
        if candidates.is_empty() { "a name with \"images\" in it".to_owned() } else { candidates.join(" or ") };
    found.ok_or_else(|| no_labels(images, expected))
}

fn no_labels(path: &Path, expected: String) -> DataError {
    DataError::NoLabels { path: path.to_owned(), expected }
}

fn unrecognised(path: &Path, reason: &str) -> DataError {
    DataError::Unrecognised { path: path.to_owned(), reason: reason.to_owned() }
}

/// What is in a folder, hidden files aside, in order of name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let list = || fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<std::io::Result<Vec<_>>>();
    let mut paths = list().map_err(|e| DataError::io(folder, e))?;
    paths.retain(|path| !file_name(path).starts_with('.'));
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

fn listed(path: &Path) -> (PathBuf, String) {
    (path.to_owned(), file_name(path))
}
