//! Corrupted images that the user supplies, as CIFAR-10-C publishes them: for each kind one NPY file, in which five severities follow
//! one another, and `labels.npy` beside it.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use assay_attack::CorruptionKind;

use super::array::{Array, Rows};
use super::format::Format;
use super::{DataSource, Loaded, file_name, joined, listed, no_labels, npy, unrecognised};
use crate::DataError;

/// How strongly images are corrupted, from 1 to 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Severity(u8);

impl Severity {
    /// The severities in order.
    pub const ALL: [Self; 5] = [Self(1), Self(2), Self(3), Self(4), Self(5)];
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Severity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = |severity: &Self| severity.to_string() == text;
        Self::ALL.into_iter().find(named).ok_or_else(|| "expected a severity from 1 to 5".to_owned())
    }
}

/// What reports call the images of a severity: the file with its folder, and that they come from the user.
pub(super) fn name(path: &Path, severity: Severity) -> String {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).map(file_name);
    let prefix = folder.map_or_else(String::new, |folder| format!("{folder}/"));
    format!("{prefix}{}, severity {severity}, supplied by the user", file_name(path))
}

/// Whether a file is named after a corruption.
pub(super) fn is_named_so(path: &Path) -> bool {
    CorruptionKind::ALL.iter().any(|kind| path.file_stem().is_some_and(|stem| stem == kind.name()))
}

/// The error of a file that cannot be read without a severity.
pub(super) fn needs_severity(path: &Path) -> DataError {
    let reason = "is named after a corruption: such files hold five severities one after the other; name one of them (--severity 1 to 5)";
    DataError::malformed(path, reason)
}

/// Reads the first `limit` images of a severity.
pub(super) fn load(source: &DataSource, severity: Severity, limit: usize) -> Result<Loaded, DataError> {
    let path = &source.images;
    if path.is_dir() || Format::of(path)? != Format::Npy {
        return Err(unrecognised(
            path,
            "a severity is one of five parts of an .npy file, such as fog.npy of CIFAR-10-C",
        ));
    }
    let beside = path.with_file_name("labels.npy");
    let labels_path = source.labels.clone().unwrap_or(beside);
    if source.labels.is_none() && !labels_path.is_file() {
        return Err(no_labels(path, "labels.npy".to_owned()));
    }
    let rows = Rows::Fifth { part: usize::from(severity.0) - 1, limit };
    let images = npy::read_npy(path, rows)?;
    // One label for each image, or, as the severities are of the same images, for each of one severity.
    let once = npy::read_npy(&labels_path, Rows::First(limit))?;
    let labels = if once.total.checked_mul(5) == Some(images.total) {
        Array { total: images.total, ..once }
    } else {
        npy::read_npy(&labels_path, rows)?
    };
    joined(path, images, &labels_path, &labels, vec![listed(path), listed(&labels_path)])
}
