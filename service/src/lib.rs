//! The assay server: configuration, model repository, gRPC, admission, admin port and metrics.
//!
//! Handlers only translate: request, domain call, response. Start with [`Config`] and [`embed()`].

mod config;
mod embed;
mod error;
mod nearest;

pub use config::{
    Admin, Concurrency, Config, ConfigError, Grpc, Limits, Log, LogFormat, Readiness, Runtime, Setting, Shutdown,
};
pub use embed::{Embedded, embed};
pub use error::ServerError;
