//! Models from files and to files.

// Sizes in a file are hostile until checked: no conversion may lose anything.
#![deny(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)]

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message as _;

use crate::check::{Defect, check};
use crate::proto::{self, Kept, ModelProto, Reader, Storage};
use crate::{Model, Tensor, Value};

/// What a file may cost. Every limit is checked before the memory is allocated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the model file. Default: 2 GiB, the most that protobuf readers accept.
    pub file_bytes: u64,
    /// Bytes of all tensors together, external data included. Default: 8 GiB.
    pub tensor_bytes: u64,
    /// Bytes of the sparse tensors together, once their zeros are written out: a short file can state much of them. Default: 1 GiB.
    pub sparse_bytes: u64,
    /// Nodes of all graphs together. Default: 100,000. Names, attributes and declarations are limited to 50 for each.
    pub nodes: usize,
    /// How deeply subgraphs may nest. Default: 8.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file_bytes: 2 << 30, tensor_bytes: 8 << 30, sparse_bytes: 1 << 30, nodes: 100_000, depth: 8 }
    }
}

/// A file that could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file system refused.
    #[error("cannot read \"{path}\": {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is larger than the [`Limits`] allow.
    #[error("the model has {found} {what}, more than the limit of {limit}; raise `{name}` if you trust the file")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        found: u64,
        /// The limit's name.
        name: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The bytes are no protobuf message of ONNX.
    #[error("not an ONNX model: {0}; the file is damaged, incomplete or of another format")]
    Encoding(String),
    /// A tensor contradicts itself or cannot be read.
    #[error("tensor \"{tensor}\": {problem}")]
    Tensor {
        /// Its name, or that of the attribute it is in.
        tensor: String,
        /// What is wrong, and what was expected.
        problem: String,
    },
    /// A part of the file contradicts the ONNX specification or is not supported.
    #[error("{place}: {problem}")]
    Malformed {
        /// The node, value or graph.
        place: String,
        /// What is wrong, and what was expected.
        problem: String,
    },
    /// The graph is not one that can be computed.
    #[error(transparent)]
    Defect(#[from] Defect),
}

impl LoadError {
    pub(crate) fn limit(what: &'static str, found: usize, name: &'static str, limit: usize) -> Self {
        Self::Limit { what, found: found as u64, name, limit: limit as u64 }
    }

    pub(crate) fn encoding(problem: impl fmt::Display) -> Self {
        Self::Encoding(problem.to_string())
    }

    pub(crate) fn tensor(tensor: &str, problem: impl Into<String>) -> Self {
        Self::Tensor { tensor: tensor.to_owned(), problem: problem.into() }
    }

    pub(crate) fn malformed(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Malformed { place: place.into(), problem: problem.into() }
    }
}

impl Model {
    /// The model encoded in `file`, an ONNX file. It does not keep the file in memory.
    ///
    /// Nodes come out in topological order, and initializers are no longer inputs.
    ///
    /// # Errors
    /// The bytes are no ONNX model, exceed `limits`, keep tensors in other files (use [`Model::load`]), or the graph fails
    /// [`check`](crate::check()).
    pub fn from_bytes(file: Bytes, limits: &Limits) -> Result<Self, LoadError> {
        Ok(read(file, None, limits)?.0)
    }

    /// The model in the file `path`, with the tensors that it keeps in other files of the same folder.
    ///
    /// # Errors
    /// As [`Model::from_bytes`]; a file cannot be read; external data lies outside the model's folder.
    pub fn load(path: &Path, limits: &Limits) -> Result<Self, LoadError> {
        Ok(ModelFile::load(path, limits)?.model)
    }

    /// The model as an ONNX file, with all tensors inside.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        proto::encode(self, |_| Storage::Inside).encode_to_vec().into()
    }

    /// The model as an ONNX file, with those initializers as sparse tensors, coordinates and values, that are smaller so. ONNX Runtime reads
    /// such files; not every tool does.
    #[must_use]
    pub fn to_sparse_bytes(&self) -> Bytes {
        proto::encode(self, |_| Storage::Sparse).encode_to_vec().into()
    }

    /// The model as an ONNX file without the content of its large initializers, of `least` bytes or more, and these. Whoever runs
    /// the file gives them to the runtime by name: a file of more than 2 GiB is beyond protobuf, and nothing is copied.
    #[must_use]
    pub fn to_bytes_apart(&self, least: usize) -> (Bytes, Vec<(Value, Tensor)>) {
        // Types without a size of their own, such as int4, are understood by the runtime only: they stay in the file.
        let apart = |tensor: &Tensor| tensor.dtype().size().is_some() && tensor.bytes().len() >= least.max(1);
        let large = self.graph.initializers.iter().filter(|(_, tensor)| apart(tensor));
        let large = large.map(|(value, tensor)| (value.clone(), tensor.clone())).collect();
        let storage = |tensor: &Tensor| if apart(tensor) { Storage::Apart } else { Storage::Inside };
        (proto::encode(self, storage).encode_to_vec().into(), large)
    }
}

/// A model with the bytes that it was made from. Each file was read once, so that what is said of the bytes, such as their
/// hash, is said of the model.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// The model.
    pub model: Model,
    /// Content of the model's file.
    pub content: Bytes,
    /// Content of the other files of its folder that it keeps tensors in, in the order of their names.
    pub external: Vec<(String, Bytes)>,
}

impl ModelFile {
    /// The model in `content`, as [`Model::from_bytes`].
    ///
    /// # Errors
    /// As there.
    pub fn from_bytes(content: Bytes, limits: &Limits) -> Result<Self, LoadError> {
        let (model, external) = read(content.clone(), None, limits)?;
        Ok(Self { model, content, external })
    }

    /// Reads the model in the file `path`, as [`Model::load`].
    ///
    /// # Errors
    /// As there.
    pub fn load(path: &Path, limits: &Limits) -> Result<Self, LoadError> {
        let content = open(path, limits.file_bytes, "file_bytes")?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let (model, external) = read(content.clone(), Some(folder), limits)?;
        Ok(Self { model, content, external })
    }
}

type External = Vec<(String, Bytes)>;

fn read(file: Bytes, folder: Option<&Path>, limits: &Limits) -> Result<(Model, External), LoadError> {
    within(file.len() as u64, limits.file_bytes, "file_bytes")?;
    proto::survey(&file, limits)?;
    let message = Kept::<ModelProto>::decode(file).map_err(LoadError::encoding)?;
    let mut reader = Reader::new(limits, folder);
    let mut model = reader.model(message)?;
    crate::order::sort(&mut model.graph)?;
    for function in &mut model.functions {
        crate::order::sort(&mut function.body)?;
    }
    check(&model)?;
    Ok((model, reader.external_files()))
}

/// Content of a regular file of at most `limit` bytes; `name` is the limit's.
pub(crate) fn open(path: &Path, limit: u64, name: &'static str) -> Result<Bytes, LoadError> {
    let io = |source| LoadError::Io { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        return Err(io(std::io::Error::other("it is not a regular file")));
    }
    within(metadata.len(), limit, name)?;
    let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    // The file may have grown since.
    File::open(path).map_err(io)?.take(limit.saturating_add(1)).read_to_end(&mut content).map_err(io)?;
    within(content.len() as u64, limit, name)?;
    Ok(content.into())
}

fn within(found: u64, limit: u64, name: &'static str) -> Result<(), LoadError> {
    if found > limit { Err(LoadError::Limit { what: "bytes", found, name, limit }) } else { Ok(()) }
}
