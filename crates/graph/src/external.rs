//! Tensors that a model keeps in other files of its folder.

// Sizes in a file are hostile until checked: no conversion may lose anything.
#![deny(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)]

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use crate::load::{Limits, LoadError, open};

/// The folder of a model, and the files of it that were read.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    files: HashMap<String, Bytes>,
    /// Bytes that may still be read.
    left: u64,
}

impl Folder {
    pub(crate) fn new(path: &Path, limits: &Limits) -> Self {
        Self { path: path.to_owned(), files: HashMap::new(), left: limits.tensor_bytes }
    }

    /// The files that were read, in the order of their names.
    pub(crate) fn into_files(self) -> Vec<(String, Bytes)> {
        let mut files: Vec<_> = self.files.into_iter().collect();
        files.sort_by(|(a, _), (b, _)| a.cmp(b));
        files
    }

    /// The bytes of `tensor` in the file `location`: `expected` of them from `offset` on.
    pub(crate) fn slice(
        &mut self,
        tensor: &str,
        location: &str,
        offset: usize,
        expected: usize,
    ) -> Result<Bytes, LoadError> {
        let content = match self.files.get(location) {
            Some(content) => content.clone(),
            None => {
                let content = self.read(tensor, location)?;
                self.files.insert(location.to_owned(), content.clone());
                content
            }
        };
        let end = offset.checked_add(expected).filter(|&end| end <= content.len());
        end.map(|end| content.slice(offset..end)).ok_or_else(|| {
            let length = content.len();
            LoadError::tensor(
                tensor,
                format!(
                    "its {expected} bytes at offset {offset} lie beyond the end of \"{location}\" ({length} bytes)"
                ),
            )
        })
    }

    fn read(&mut self, tensor: &str, location: &str) -> Result<Bytes, LoadError> {
        let outside = || {
            LoadError::tensor(
                tensor,
                format!(
                    "its file \"{location}\" is not inside the model's folder; put it there and refer to it by a relative path"
                ),
            )
        };
        let relative = Path::new(location);
        let plain = relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if location.is_empty() || !plain {
            return Err(outside());
        }
        // Symbolic links are followed first, so that none of them leads out.
        let resolve =
            |path: &Path| path.canonicalize().map_err(|source| LoadError::Io { path: path.to_owned(), source });
        let file = resolve(&self.path.join(relative))?;
        if !file.starts_with(resolve(&self.path)?) {
            return Err(outside());
        }
        let content = open(&file, self.left, "tensor_bytes")?;
        self.left -= content.len() as u64;
        Ok(content)
    }
}
