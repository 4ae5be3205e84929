//! The binary batches of CIFAR-10 and CIFAR-100 (Krizhevsky, 2009): for each image one byte with its label, in CIFAR-100 that of its
//! superclass before it, and three planes of 32 x 32 bytes.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use assay_runtime::Class;

use super::array::{Array, Element};
use super::{Loaded, has_extension, listed};
use crate::DataError;
use crate::dataset::MAX_BYTES;

const SHAPE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;

/// Whether a file is named as a batch is.
pub(super) fn is_batch(path: &Path) -> bool {
    has_extension(path, "bin")
}

/// Reads the first `limit` images of some batches, one batch after the other.
pub(super) fn load(files: &[PathBuf], limit: usize) -> Result<Loaded, DataError> {
    let kind = files.first().map_or(Ok(Kind::Ten), |path| Kind::of(path))?;
    let (mut bytes, mut labels, mut read, mut class_names) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for path in files {
        if labels.len() >= limit {
            break;
        }
        if Kind::of(path)? != kind {
            let reason = format!("is not of {}, as the file before it is; name one data set's files", kind.name());
            return Err(DataError::malformed(path, reason));
        }
        kind.append(path, limit, &mut bytes, &mut labels)?;
        read.push(listed(path));
        class_names = kind.class_names(path)?;
    }
    let shape = [&[labels.len()], &SHAPE[..]].concat();
    let array = Array { shape, total: labels.len(), bytes, element: Element::U8 };
    let (samples, sample_shape) = array.into_samples(files.first().map_or(Path::new(""), PathBuf::as_path))?;
    Ok(Loaded { samples, sample_shape, labels, class_names, files: read })
}

/// Which of the two data sets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ten,
    Hundred,
}

impl Kind {
    /// By the size of the file. One that is a multiple of both sizes of records is of CIFAR-10; of the published files none is.
    fn of(path: &Path) -> Result<Self, DataError> {
        let size = fs::metadata(path).map_err(|e| DataError::io(path, e))?.len();
        let such = |kind: &Self| size.is_multiple_of(kind.record() as u64);
        [Self::Ten, Self::Hundred].into_iter().find(such).ok_or_else(|| {
            let (ten, hundred) = (Self::Ten.record(), Self::Hundred.record());
            let reason = format!(
                "has {size} bytes; expected a multiple of {ten} (CIFAR-10) or {hundred} (CIFAR-100): fetch the file again"
            );
            DataError::malformed(path, reason)
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Ten => "CIFAR-10",
            Self::Hundred => "CIFAR-100",
        }
    }

    const fn classes(self) -> u8 {
        match self {
            Self::Ten => 10,
            Self::Hundred => 100,
        }
    }

    /// Bytes of one image before its pixels, of which the last is the label.
    const fn head(self) -> usize {
        match self {
            Self::Ten => 1,
            Self::Hundred => 2,
        }
    }

    const fn record(self) -> usize {
        self.head() + PIXELS
    }

    /// Reads the images of one file until there are `limit`.
    fn append(self, path: &Path, limit: usize, bytes: &mut Vec<u8>, labels: &mut Vec<Class>) -> Result<(), DataError> {
        let io = |e| DataError::io(path, e);
        let size = fs::metadata(path).map_err(io)?.len();
        let wanted = (size / self.record() as u64).min((limit - labels.len()) as u64);
        let samples = labels.len() as u64 + wanted;
        if samples.saturating_mul((PIXELS * size_of::<f32>()) as u64) > MAX_BYTES {
            let features = PIXELS as u64;
            return Err(DataError::TooLarge { path: path.to_owned(), samples, features, limit: MAX_BYTES });
        }
        let mut reader = BufReader::new(File::open(path).map_err(io)?);
        let mut record = vec![0; self.record()];
        for image in 0..wanted {
            reader.read_exact(&mut record).map_err(io)?;
            let (head, pixels) = record.split_at(self.head());
            let label = head.last().copied().unwrap_or(u8::MAX);
            if label >= self.classes() {
                let (name, last) = (self.name(), self.classes() - 1);
                let reason = format!(
                    "label {label} of image {image}; the classes of {name} are 0 to {last}: fetch the file again"
                );
                return Err(DataError::malformed(path, reason));
            }
            labels.push(Class(label.into()));
            bytes.extend(pixels);
        }
        Ok(())
    }

    /// Names of the classes, from the file that is published with the batches; empty where it is absent.
    fn class_names(self, batch: &Path) -> Result<Vec<String>, DataError> {
        let path = batch.with_file_name(match self {
            Self::Ten => "batches.meta.txt",
            Self::Hundred => "fine_label_names.txt",
        });
        if !path.is_file() {
            return Ok(Vec::new());
        }
        let text = fs::read_to_string(&path).map_err(|e| DataError::io(&path, e))?;
        let names: Vec<_> = text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect();
        if names.len() != usize::from(self.classes()) {
            let reason = format!("names {} classes; {} has {}", names.len(), self.name(), self.classes());
            return Err(DataError::malformed(path, reason));
        }
        Ok(names)
    }
}
