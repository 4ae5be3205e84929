//! The server from outside: one behaviour a file, real sockets, real clients, the real models.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::field_reassign_with_default)]

mod admin;
mod attack;
mod audit;
mod audit_data;
mod audit_jobs;
mod audit_quote;
mod auth;
mod batching;
mod cache;
mod catalogue;
mod certify;
mod compression;
mod deadline;
mod disconnect;
mod drain;
mod embedded;
mod full_disk;
mod gradient;
mod harden;
mod harness;
mod health;
mod limits;
mod metrics;
mod models_folder;
mod near_duplicates;
mod oip;
mod oip_repository;
mod oip_stream;
mod opaque;
mod owners;
mod pki;
mod predict;
mod program;
mod quotas;
mod readiness;
mod repository;
mod tls;
mod tls_reload;
mod traces;
mod validation;
mod web;
mod weights;
