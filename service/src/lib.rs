//! The assay server: configuration, model repository, gRPC, admission, admin port and metrics.
//!
//! Handlers only translate: request, domain call, response. Start with [`Config`], [`Server`] and [`embed()`].

mod admin;
mod admission;
mod audit;
mod auth;
mod call;
mod config;
mod core;
mod deadline;
mod embed;
mod error;
mod harden;
mod health;
mod hosting;
mod job;
mod lifecycle;
mod metered;
mod metrics;
mod nearest;
mod repository;
mod rpc;
mod rpcs;
mod server;
mod statistics;
mod status;
mod tensor;

pub use auth::{UnfitKey, hash_key};
pub use config::{
    Admin, ApiKey, Audits, Auth, Concurrency, Config, ConfigError, Grpc, Harden, Limits, Log, LogFormat, Readiness,
    Role, Runtime, Setting, Shutdown,
};
pub use embed::{Embedded, embed};
pub use error::ServerError;
pub use server::{Addresses, Server};
