//! Where jobs are kept.

use std::fmt;
use std::path::PathBuf;

use super::record::{Asked, JobId, Moment, Record};
use crate::event::Event;
use crate::run::Progress;

/// Where jobs are kept. What a method has answered survives the process, as far as the store survives it; what it has not answered may or may not be there.
pub trait AuditStore: fmt::Debug + Send + Sync {
    /// Writes a new job down, which is queued, and gives it its number.
    ///
    /// # Errors
    /// It cannot be written, or its owner has a job with this key.
    fn create(&self, asked: &Asked, created: Moment) -> Result<Record, StoreError>;

    /// Replaces the state and the times of a job.
    ///
    /// # Errors
    /// They cannot be written; what was there before still is.
    fn change(&self, record: &Record) -> Result<(), StoreError>;

    /// Writes event number `seq` of a job down, counted from 0, and how far the job is with it.
    ///
    /// # Errors
    /// It cannot be written, or there is one with this number.
    fn append(&self, job: JobId, seq: u64, event: &Event, progress: Option<&Progress>) -> Result<(), StoreError>;

    /// All jobs in order of their numbers.
    ///
    /// # Errors
    /// They cannot be read.
    fn records(&self) -> Result<Vec<Record>, StoreError>;

    /// The events of a job in order.
    ///
    /// # Errors
    /// They cannot be read, or one of them is missing.
    fn events(&self, job: JobId) -> Result<Vec<Event>, StoreError>;

    /// How many events a job has.
    ///
    /// # Errors
    /// They cannot be read.
    fn count(&self, job: JobId) -> Result<u64, StoreError>;

    /// How far a job was with its events number `from` and later ones, by their numbers; those that say nothing of it are left out.
    ///
    /// # Errors
    /// They cannot be read.
    fn progress(&self, job: JobId, from: u64) -> Result<Vec<(u64, Progress)>, StoreError>;

    /// Forgets a job and its events.
    ///
    /// # Errors
    /// They cannot be removed.
    fn delete(&self, job: JobId) -> Result<(), StoreError>;
}

/// A store that cannot be used, or did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no room.
    #[error("the disk of {} is full; make room, and ask for the audit again: it goes on behind what is stored", file.display())]
    Full {
        /// The file.
        file: PathBuf,
    },
    /// The system refuses to write, and does not say why to who asks through SQLite: a quota, a limit on the size of files, a disk that is broken.
    #[error(
        "{} cannot be written ({reason}): its disk may be full, over a quota or broken; make room, and ask for the audit again: it goes on behind what is stored",
        file.display()
    )]
    Unwritable {
        /// The file.
        file: PathBuf,
        /// What SQLite says.
        reason: String,
    },
    /// Another process works with it.
    #[error("another server works in {}; give each server a folder of its own", folder.display())]
    Taken {
        /// The folder.
        folder: PathBuf,
    },
    /// The file is damaged, or is none of ours.
    #[error(
        "{} is damaged ({reason}); nothing was changed. Put a copy of it back, or move it and the files beside it whose names begin so away to begin without jobs",
        file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file has another format.
    #[error(
        "{} has format {found}, and this version of assay reads {known}; use the version that wrote it, or another folder",
        file.display()
    )]
    Format {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: i64,
        /// The format that is read.
        known: i64,
    },
    /// Anything else.
    #[error("{}: {reason}", file.display())]
    Failed {
        /// The file or folder.
        file: PathBuf,
        /// What went wrong.
        reason: String,
    },
}
