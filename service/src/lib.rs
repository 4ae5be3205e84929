//! The assay server: configuration, model repository, gRPC, admission, admin port and metrics.
//!
//! Handlers only translate: request, domain call, response. Start with [`Config`], [`Server`] and [`embed()`].

mod admin;
mod admission;
mod audit;
mod call;
mod config;
mod core;
mod deadline;
mod embed;
mod error;
mod harden;
mod hosting;
mod job;
mod lifecycle;
mod metered;
mod metrics;
mod nearest;
mod repository;
mod rpc;
mod server;
mod status;
mod tensor;

pub use config::{
    Admin, Audits, Concurrency, Config, ConfigError, Grpc, Harden, Limits, Log, LogFormat, Readiness, Runtime, Setting,
    Shutdown,
};
pub use embed::{Embedded, embed};
pub use error::ServerError;
pub use server::{Addresses, Server};
