//! The assay server: configuration, model repository, gRPC, admission, admin port and metrics.
//!
//! Handlers only translate: request, domain call, response. Start with [`Config`], [`Server`] and [`embed()`].

mod admin;
mod admission;
mod answers;
mod audit;
mod auth;
mod call;
mod certifying;
mod config;
mod core;
mod deadline;
mod embed;
mod error;
mod gpu;
mod harden;
mod health;
mod hosting;
mod job;
mod lifecycle;
mod metered;
mod metrics;
mod near_duplicates;
mod nearest;
mod prediction;
mod principals;
mod quota;
mod reload;
mod repository;
mod rpc;
mod rpcs;
mod server;
mod statistics;
mod status;
mod tensor;
mod tls;
mod traces;
mod web;

pub use auth::{UnfitKey, hash_key};
pub use call::CALLS;
pub use config::{
    Admin, ApiKey, Audits, Auth, AuthFileError, Cache, ClientCertificate, Concurrency, Config, ConfigError, Expiry,
    Grpc, Harden, Limits, Log, LogFormat, NearDuplicates, Quota, Readiness, Reload, Role, Runtime, Setting, Shutdown,
    Tls, Traces,
};
pub use embed::{Embedded, embed};
pub use error::ServerError;
pub use reload::Reloader;
pub use server::{Addresses, Server};
pub use tls::TlsError;
pub use traces::Tracing;
