//! Training data and test data of one folder.

use std::path::{Path, PathBuf};

use super::{file_name, unrecognised};
use crate::DataError;

/// What of a published data set is read, where its folder holds both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// What models are trained on: files whose names begin with `train` or `data_batch`.
    Train,
    /// What they are judged on: files whose names begin with `test` or `t10k`.
    Test,
}

impl Split {
    const fn word(self) -> &'static str {
        match self {
            Self::Train => "training",
            Self::Test => "test",
        }
    }

    const fn beginnings(self) -> &'static [&'static str] {
        match self {
            Self::Train => &["train", "data_batch"],
            Self::Test => &["test", "t10k"],
        }
    }

    fn names(self, path: &Path) -> bool {
        let name = file_name(path).to_ascii_lowercase();
        self.beginnings().iter().any(|beginning| name.starts_with(beginning))
    }

    /// The files of this split; all of them where no name says what it holds.
    pub(super) fn among(self, folder: &Path, files: Vec<PathBuf>) -> Result<Vec<PathBuf>, DataError> {
        if !files.iter().any(|path| Self::Train.names(path) || Self::Test.names(path)) {
            return Ok(files);
        }
        let (own, others): (Vec<_>, Vec<_>) = files.into_iter().partition(|path| self.names(path));
        if own.is_empty() {
            let others: Vec<_> = others.iter().map(|path| file_name(path)).collect();
            let reason =
                format!("it holds no {} data, only {}; name the file that is meant", self.word(), others.join(", "));
            return Err(unrecognised(folder, &reason));
        }
        Ok(own)
    }
}
