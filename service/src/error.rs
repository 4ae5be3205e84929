//! Why the server could not start or go on.

use std::{net::SocketAddr, path::PathBuf};

use crate::{
    auth::UnfitKey,
    config::{AuthFileError, ConfigError},
    tls::TlsError,
};

/// Why the server could not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A text that was to be hashed is no key.
    #[error(transparent)]
    Key(#[from] UnfitKey),
    /// A file of `grpc.tls` cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The file of `auth.file` cannot be used.
    #[error(transparent)]
    Auth(#[from] AuthFileError),
    /// The model repository cannot be read.
    #[error("model repository {}: {reason}; set `models` to a folder with <name>/<version>/model.onnx", path.display())]
    Repository {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A port cannot be had.
    #[error(
        "cannot listen on {address} ({key}): {source}; stop what uses it, or set {key} to another address or to port 0"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The configuration key that sets it.
        key: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// ONNX Runtime cannot be used.
    #[error("{0}")]
    Runtime(String),
    /// A file of the server could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The metrics could not be set up.
    #[error("metrics: {0}")]
    Metrics(String),
    /// Traces cannot be sent.
    #[error("{0}")]
    Traces(String),
    /// Serving failed.
    #[error("serving failed: {0}")]
    Serve(String),
}
