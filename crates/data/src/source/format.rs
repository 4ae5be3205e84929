//! What a file is.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::{cifar, npy, parquet};
use crate::DataError;

/// Format of a file, by its first bytes; binary batches have nothing that tells them but their names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// IDX, maybe compressed.
    Idx,
    Npy,
    Zip,
    Cifar,
    Parquet,
    Other,
}

impl Format {
    pub(super) fn of(path: &Path) -> Result<Self, DataError> {
        let mut start = Vec::new();
        let file = File::open(path).map_err(|e| DataError::io(path, e))?;
        file.take(8).read_to_end(&mut start).map_err(|e| DataError::io(path, e))?;
        Ok(match start.as_slice() {
            // The first image of a batch may begin as IDX does.
            _ if cifar::is_batch(path) => Self::Cifar,
            [0x1f, 0x8b, ..] | [0, 0, ..] => Self::Idx,
            [b'P', b'K', ..] => Self::Zip,
            start if start.starts_with(npy::MAGIC) => Self::Npy,
            start if start.starts_with(parquet::MAGIC) => Self::Parquet,
            _ => Self::Other,
        })
    }
}
