//! An audit as a job that survives whoever carries it out.
//!
//! What has become of a job is a [`State`], which moves by [`State::on`] and nothing else. An [`AuditStore`] has a [`Record`] of each job, and its events;
//! both are written down before anybody acts upon them. [`carry_out`] goes on behind the events that are there, so that a job that was cut off anywhere ends
//! with the report of one that was not.

mod drive;
mod record;
mod sqlite;
mod state;
mod store;

pub use drive::{JobError, Watcher, Work, carry_out, events, report};
pub use record::{Asked, DataRef, JobId, ModelDigest, Moment, Record};
pub use sqlite::Sqlite;
pub use state::{Illegal, Input, State};
pub use store::{AuditStore, StoreError};
