//! Where a data set comes from: finds out what a path is, and opens it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use assay_attack::Bounds;
use assay_runtime::Class;
use ndarray::Array2;
use sha2::{Digest, Sha256};

use super::array::{Array, Rows};
use super::{DataError, Dataset, Parts, corrupted, folder, idx, npy};
use crate::Severity;

/// Path of a data set, and of its labels where they are not found by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSource {
    /// Folder or file with the images.
    pub images: PathBuf,
    /// File with the labels; `None`: looked for beside the images.
    pub labels: Option<PathBuf>,
    /// Of a file of corrupted images, as those of CIFAR-10-C are, the severity to read.
    pub severity: Option<Severity>,
}

impl DataSource {
    /// A source whose labels are found by themselves.
    #[must_use]
    pub fn new(images: impl AsRef<Path>) -> Self {
        Self { images: images.as_ref().to_owned(), labels: None, severity: None }
    }

    /// The same source, of which one severity is read.
    #[must_use]
    pub fn with_severity(self, severity: Option<Severity>) -> Self {
        Self { severity, ..self }
    }
}

/// What was read.
pub(super) struct Loaded {
    /// `[n, features]`.
    pub(super) samples: Array2<f32>,
    pub(super) sample_shape: Vec<usize>,
    pub(super) labels: Vec<Class>,
    pub(super) class_names: Vec<String>,
    /// Files that were read, in order, each with its name in the digest's listing.
    pub(super) files: Vec<(PathBuf, String)>,
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
            digest: digest(&loaded.files)?,
        })
    }
}

fn load(source: &DataSource, limit: usize) -> Result<Loaded, DataError> {
    let (path, rows) = (&source.images, Rows::First(limit));
    if fs::metadata(path).map_err(|e| DataError::io(path, e))?.is_dir() {
        return match idx_images(path)? {
            Some(images) => pair(&images, source.labels.as_deref(), rows),
            None => folder::load(path, source.labels.as_deref(), limit),
        };
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
        Format::Other => Err(unrecognised(path, "the file is neither IDX, NPZ nor NPY")),
    }
}

/// Images in one file, labels in another.
fn pair(images: &Path, labels: Option<&Path>, rows: Rows) -> Result<Loaded, DataError> {
    let labels = labels.map_or_else(|| labels_beside(images), |path| Ok(path.to_owned()))?;
    let files = vec![listed(images), listed(&labels)];
    joined(images, read_array(images, rows)?, &labels, &read_array(&labels, rows)?, files)
}

pub(super) fn joined(
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

/// Format of a file, by its first bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// IDX, maybe compressed.
    Idx,
    Npy,
    Zip,
    Other,
}

impl Format {
    pub(super) fn of(path: &Path) -> Result<Self, DataError> {
        let mut start = Vec::new();
        let file = File::open(path).map_err(|e| DataError::io(path, e))?;
        file.take(8).read_to_end(&mut start).map_err(|e| DataError::io(path, e))?;
        Ok(match start.as_slice() {
            [0x1f, 0x8b, ..] | [0, 0, ..] => Self::Idx,
            [b'P', b'K', ..] => Self::Zip,
            start if start.starts_with(npy::MAGIC) => Self::Npy,
            _ => Self::Other,
        })
    }
}

fn read_array(path: &Path, rows: Rows) -> Result<Array, DataError> {
    match Format::of(path)? {
        Format::Idx => idx::read(path, rows),
        Format::Npy => npy::read_npy(path, rows),
        Format::Zip | Format::Other => Err(unrecognised(path, "the file is neither IDX nor NPY")),
    }
}

/// The images file of the IDX pair in a folder; of several pairs, the test split.
fn idx_images(folder: &Path) -> Result<Option<PathBuf>, DataError> {
    let mut images = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| DataError::io(folder, e))? {
        let path = entry.map_err(|e| DataError::io(folder, e))?.path();
        let name = file_name(&path);
        if name.contains("images") && (name.ends_with("ubyte") || name.ends_with("ubyte.gz")) {
            images.push(path);
        }
    }
    images.sort();
    let test = |path: &&PathBuf| ["t10k", "test"].iter().any(|split| file_name(path).starts_with(split));
    match images.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(only.clone())),
        several => match several.iter().filter(test).collect::<Vec<_>>().as_slice() {
            [test] => Ok(Some((*test).clone())),
            _ => {
                let names: Vec<_> = several.iter().map(|p| file_name(p)).collect();
                Err(unrecognised(folder, &format!("it holds several images files ({}); name one", names.join(", "))))
            }
        },
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

pub(super) fn no_labels(path: &Path, expected: String) -> DataError {
    DataError::NoLabels { path: path.to_owned(), expected }
}

pub(super) fn unrecognised(path: &Path, reason: &str) -> DataError {
    DataError::Unrecognised { path: path.to_owned(), reason: reason.to_owned() }
}

pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

pub(super) fn listed(path: &Path) -> (PathBuf, String) {
    (path.to_owned(), file_name(path))
}

/// SHA-256 of the listing that `sha256sum` prints for the files.
fn digest(files: &[(PathBuf, String)]) -> Result<String, DataError> {
    let mut listing = Sha256::new();
    for (path, name) in files {
        let mut content = Sha256::new();
        let mut file = File::open(path).map_err(|e| DataError::io(path, e))?;
        io::copy(&mut file, &mut HashWriter(&mut content)).map_err(|e| DataError::io(path, e))?;
        listing.update(format!("{}  {name}\n", hex(&content.finalize())));
    }
    Ok(hex(&listing.finalize()))
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
