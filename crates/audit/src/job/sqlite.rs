//! Jobs in an SQLite database.
//!
//! ```text
//! FOLDER/audits.db      jobs and events; -wal and -shm beside it are part of it
//! FOLDER/audits.lock    the process that works with it
//! ```
//!
//! Every change is on the disk when its method returns (write-ahead log, `synchronous = FULL`). A database that is damaged or of another format is refused
//! and left as it is.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, Row, ffi, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::record::{Asked, JobId, Moment, Record};
use super::state::State;
use super::store::{AuditStore, StoreError};
use crate::event::Event;
use crate::judge::Verdict;
use crate::run::Progress;

/// The format of the database, in its `user_version`.
const FORMAT: i64 = 3;
/// How long a change waits for another one; only another program that has the file open makes one wait.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is kept of a job, in the order in which [`Sqlite::record`] reads it.
const COLUMNS: &str =
    "id, key, plan, data, models, environment, shard, state, verdict, reason, created, started, ended, baseline, owner";

/// Jobs in an SQLite database.
#[derive(Debug)]
pub struct Sqlite {
    file: PathBuf,
    connection: Mutex<Connection>,
    /// Locked as long as it is open, by the system: also a process that is killed gives it back.
    lock: Option<File>,
}

impl Sqlite {
    /// The database of a folder, which is made where there is none and taken for this process.
    ///
    /// # Errors
    /// Another process has taken the folder; the database is damaged or of another format; the folder cannot be used.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let failed = |e: std::io::Error| StoreError::Failed { file: folder.to_owned(), reason: e.to_string() };
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = File::create(folder.join("audits.lock")).map_err(failed)?;
        lock.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => StoreError::Taken { folder: folder.to_owned() },
            TryLockError::Error(e) => failed(e),
        })?;
        let file = folder.join("audits.db");
        let is_new = !file.exists();
        let connection = Connection::open(&file).map_err(|e| refused(&file, &e))?;
        let store = Self { file, connection: Mutex::new(connection), lock: Some(lock) };
        store.prepare()?;
        if is_new {
            // The name is on the disk when its folder is.
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        Ok(store)
    }

    /// A database that ends with this process.
    ///
    /// # Errors
    /// SQLite has no memory.
    pub fn in_memory() -> Result<Self, StoreError> {
        let file = PathBuf::from(":memory:");
        let connection = Connection::open_in_memory().map_err(|e| refused(&file, &e))?;
        let store = Self { file, connection: Mutex::new(connection), lock: None };
        store.prepare()?;
        Ok(store)
    }

    /// Gives the folder back to other processes, which nothing may be written to from here on.
    pub fn release(&self) {
        // What lies in the log goes into the database. Where it cannot, whoever opens it next does it.
        let _ = self.locked().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        // Else it is given back with the process.
        drop(self.lock.as_ref().map(File::unlock));
    }

    /// Looks whether the database is sound before anything is written to it, and makes its tables where it is new.
    fn prepare(&self) -> Result<(), StoreError> {
        let mut connection = self.locked();
        let damaged = |reason| StoreError::Damaged { file: self.file.clone(), reason };
        connection.busy_timeout(PATIENCE).map_err(|e| self.refused(&e))?;
        let sound: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(|e| self.refused(&e))?;
        if sound != "ok" {
            return Err(damaged(sound));
        }
        let number = |query: &str| connection.query_row(query, [], |row| row.get::<_, i64>(0));
        let found = number("PRAGMA user_version").map_err(|e| self.refused(&e))?;
        let tables = number("SELECT count(*) FROM sqlite_schema").map_err(|e| self.refused(&e))?;
        if found != FORMAT && (found, tables) != (0, 0) {
            return Err(StoreError::Format { file: self.file.clone(), found, known: FORMAT });
        }
        let set = |name: &str, value: &str| connection.pragma_update(None, name, value).map_err(|e| self.refused(&e));
        set("journal_mode", "WAL")?;
        set("synchronous", "FULL")?;
        set("foreign_keys", "ON")?;
        if found == 0 {
            let made = connection.transaction().and_then(|transaction| {
                transaction.execute_batch(include_str!("sqlite.sql"))?;
                transaction.pragma_update(None, "user_version", FORMAT)?;
                transaction.commit()
            });
            made.map_err(|e| self.refused(&e))?;
        }
        Ok(())
    }

    fn record(&self, row: &Row<'_>) -> Result<Record, StoreError> {
        let text = |column: usize| row.get::<_, String>(column).map_err(|e| self.refused(&e));
        let optional = |column: usize| row.get::<_, Option<String>>(column).map_err(|e| self.refused(&e));
        let moment = |column: usize| {
            let seconds = row.get::<_, Option<i64>>(column).map_err(|e| self.refused(&e))?;
            Ok::<_, StoreError>(seconds.map(|seconds| Moment(u64::try_from(seconds).unwrap_or(0))))
        };
        let id: i64 = row.get(0).map_err(|e| self.refused(&e))?;
        let damaged =
            |what: String| StoreError::Damaged { file: self.file.clone(), reason: format!("job {id}: {what}") };
        let state = match (text(7)?.as_str(), optional(8)?.as_deref().and_then(Verdict::named), optional(9)?) {
            ("queued", ..) => State::Queued,
            ("running", ..) => State::Running,
            ("done", Some(verdict), _) => State::Done(verdict),
            ("failed", _, Some(reason)) => State::Failed(reason),
            ("cancelled", ..) => State::Cancelled,
            (other, ..) => return Err(damaged(format!("unknown state {other:?}"))),
        };
        Ok(Record {
            id: JobId(id),
            asked: Asked {
                owner: optional(14)?,
                key: optional(1)?,
                plan: self.decoded(JobId(id), "plan", &text(2)?)?,
                data: self.decoded(JobId(id), "data", &text(3)?)?,
                models: self.decoded(JobId(id), "models", &text(4)?)?,
                environment: self.decoded(JobId(id), "environment", &text(5)?)?,
                shard: optional(6)?.map(|text| text.parse().map_err(&damaged)).transpose()?,
                baseline: optional(13)?.map(|text| self.decoded(JobId(id), "baseline", &text)).transpose()?,
            },
            state,
            created: moment(10)?.ok_or_else(|| damaged("no time".to_owned()))?,
            started: moment(11)?,
            ended: moment(12)?,
        })
    }

    fn encoded(&self, value: &impl Serialize) -> Result<String, StoreError> {
        serde_json::to_string(value).map_err(|e| StoreError::Failed { file: self.file.clone(), reason: e.to_string() })
    }

    fn decoded<T: DeserializeOwned>(&self, job: JobId, what: &str, text: &str) -> Result<T, StoreError> {
        serde_json::from_str(text)
            .map_err(|e| StoreError::Damaged { file: self.file.clone(), reason: format!("job {job}: {what}: {e}") })
    }

    fn refused(&self, error: &rusqlite::Error) -> StoreError {
        refused(&self.file, error)
    }

    fn locked(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AuditStore for Sqlite {
    fn create(&self, asked: &Asked, created: Moment) -> Result<Record, StoreError> {
        let Asked { owner, key, plan, data, shard, baseline, models, environment } = asked;
        let (plan, data) = (self.encoded(plan)?, self.encoded(data)?);
        let (models, environment) = (self.encoded(models)?, self.encoded(environment)?);
        let shard = shard.map(|shard| shard.to_string());
        let baseline = baseline.as_ref().map(|baseline| self.encoded(baseline)).transpose()?;
        let connection = self.locked();
        connection
            .execute(
                "INSERT INTO jobs (owner, key, plan, data, models, environment, shard, baseline, state, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                params![owner, key, plan, data, models, environment, shard, baseline, State::Queued.name(), seconds(created)],
            )
            .map_err(|e| self.refused(&e))?;
        let id = JobId(connection.last_insert_rowid());
        Ok(Record { id, asked: asked.clone(), state: State::Queued, created, started: None, ended: None })
    }

    fn change(&self, record: &Record) -> Result<(), StoreError> {
        let (verdict, reason) = match &record.state {
            State::Done(verdict) => (Some(verdict.name()), None),
            State::Failed(reason) => (None, Some(reason)),
            State::Queued | State::Running | State::Cancelled => (None, None),
        };
        let (started, ended) = (record.started.map(seconds), record.ended.map(seconds));
        let changed = self.locked().execute(
            "UPDATE jobs SET state = ?, verdict = ?, reason = ?, started = ?, ended = ? WHERE id = ?",
            params![record.state.name(), verdict, reason, started, ended, record.id.0],
        );
        match changed.map_err(|e| self.refused(&e))? {
            1 => Ok(()),
            _ => Err(self.missing(record.id)),
        }
    }

    fn append(&self, job: JobId, seq: u64, event: &Event, progress: Option<&Progress>) -> Result<(), StoreError> {
        let progress = progress.map(|progress| self.encoded(progress)).transpose()?;
        let values = params![job.0, number(seq), self.encoded(event)?, progress];
        let sql = "INSERT INTO events (job, seq, body, progress) VALUES (?, ?, ?, ?)";
        self.locked().execute(sql, values).map(drop).map_err(|e| self.refused(&e))
    }

    fn records(&self) -> Result<Vec<Record>, StoreError> {
        let connection = self.locked();
        let failed = |e| self.refused(&e);
        let mut query = connection.prepare(&format!("SELECT {COLUMNS} FROM jobs ORDER BY id")).map_err(failed)?;
        let mut rows = query.query([]).map_err(failed)?;
        let mut records = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            records.push(self.record(row)?);
        }
        Ok(records)
    }

    fn events(&self, job: JobId) -> Result<Vec<Event>, StoreError> {
        let connection = self.locked();
        let failed = |e| self.refused(&e);
        let mut query =
            connection.prepare("SELECT seq, body FROM events WHERE job = ? ORDER BY seq").map_err(failed)?;
        let mut rows = query.query([job.0]).map_err(failed)?;
        let mut events = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            let (seq, body): (i64, String) = (row.get(0).map_err(failed)?, row.get(1).map_err(failed)?);
            if seq != number(events.len() as u64) {
                let reason = format!("job {job}: event {} is missing", events.len());
                return Err(StoreError::Damaged { file: self.file.clone(), reason });
            }
            events.push(self.decoded(job, &format!("event {seq}"), &body)?);
        }
        Ok(events)
    }

    fn count(&self, job: JobId) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM events WHERE job = ?";
        let count: i64 = self.locked().query_row(sql, [job.0], |row| row.get(0)).map_err(|e| self.refused(&e))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    fn progress(&self, job: JobId, from: u64) -> Result<Vec<(u64, Progress)>, StoreError> {
        let connection = self.locked();
        let failed = |e| self.refused(&e);
        let sql = "SELECT seq, progress FROM events WHERE job = ? AND seq >= ? AND progress IS NOT NULL ORDER BY seq";
        let mut query = connection.prepare(sql).map_err(failed)?;
        let mut rows = query.query([job.0, number(from)]).map_err(failed)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            let (seq, progress): (i64, String) = (row.get(0).map_err(failed)?, row.get(1).map_err(failed)?);
            let what = format!("progress of event {seq}");
            found.push((u64::try_from(seq).unwrap_or(0), self.decoded(job, &what, &progress)?));
        }
        Ok(found)
    }

    fn delete(&self, job: JobId) -> Result<(), StoreError> {
        self.locked().execute("DELETE FROM jobs WHERE id = ?", [job.0]).map(drop).map_err(|e| self.refused(&e))
    }
}

impl Sqlite {
    fn missing(&self, job: JobId) -> StoreError {
        StoreError::Failed { file: self.file.clone(), reason: format!("there is no job {job}") }
    }
}

/// SQLite counts with sign; nothing here is so large.
fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn seconds(moment: Moment) -> i64 {
    number(moment.0)
}

/// Whether the system failed to write: SQLite calls a disk full only where the system does, and not where a quota or a limit ends a file.
fn is_write(error: &rusqlite::Error) -> bool {
    const WRITES: [i32; 5] = [
        ffi::SQLITE_IOERR_WRITE,
        ffi::SQLITE_IOERR_FSYNC,
        ffi::SQLITE_IOERR_DIR_FSYNC,
        ffi::SQLITE_IOERR_TRUNCATE,
        ffi::SQLITE_IOERR_SHMSIZE,
    ];
    error.sqlite_error().is_some_and(|error| WRITES.contains(&error.extended_code))
}

fn refused(file: &Path, error: &rusqlite::Error) -> StoreError {
    let (file, reason) = (file.to_owned(), error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full { file },
        Some(ErrorCode::SystemIoFailure) if is_write(error) => StoreError::Unwritable { file, reason },
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => StoreError::Damaged { file, reason },
        _ => StoreError::Failed { file, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::record::DataRef;
    use crate::plan::Plan;

    fn asked() -> Asked {
        let environment =
            crate::Environment { assay: "0.1.0".into(), onnxruntime: "none".into(), optimization: "none".into() };
        let plan = "schema = 1\nmodels = [{ name = \"a\" }]\n[[evaluations]]\nnorm = \"L2\"\neps = \"0.1\"\nattacks = [{ name = \"fgsm\" }]";
        let data = DataRef::Uploaded {
            content: "ab".into(),
            name: "mine".into(),
            digest: String::new(),
            positions: vec![3, 5],
        };
        Asked {
            owner: Some("ci".into()),
            key: None,
            plan: Plan::parse(plan).unwrap(),
            data,
            shard: None,
            baseline: None,
            models: Vec::new(),
            environment,
        }
    }

    #[test]
    fn what_is_written_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let states = [
            State::Running,
            State::Done(Verdict::Pass),
            State::Done(Verdict::Fail),
            State::Failed("why".to_owned()),
            State::Cancelled,
        ];
        let mut expected = Vec::new();
        {
            let store = Sqlite::open(folder.path()).unwrap();
            for state in states {
                let record = store.create(&asked(), Moment(7)).unwrap();
                let record = Record { state, started: Some(Moment(8)), ended: Some(Moment(9)), ..record };
                store.change(&record).unwrap();
                expected.push(record);
            }
        }
        let store = Sqlite::open(folder.path()).unwrap();
        assert_eq!(store.records().unwrap(), expected);
        let nobody = Record { id: JobId(99), ..expected.remove(0) };
        assert!(store.change(&nobody).unwrap_err().to_string().contains("there is no job 99"));
    }

    #[test]
    fn a_key_is_there_once_for_each_owner() {
        let store = Sqlite::in_memory().unwrap();
        let of = |owner: Option<&str>| {
            let asked = Asked { owner: owner.map(str::to_owned), key: Some("nightly".to_owned()), ..asked() };
            store.create(&asked, Moment(1)).map(|record| record.id.0)
        };
        assert_eq!([of(None), of(Some("ci")), of(Some("lab"))], [Ok(1), Ok(2), Ok(3)]);
        assert!(of(Some("ci")).is_err() && of(None).is_err());
    }

    /// The error of a database that may not grow is that of a disk that is full.
    #[test]
    fn a_database_without_room_is_a_full_disk_and_keeps_what_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(folder.path()).unwrap();
        let job = store.create(&asked(), Moment(1)).unwrap().id;
        let pages: i64 = store.locked().query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        store.locked().pragma_update(None, "max_page_count", pages + 3).unwrap();
        let stored =
            (0..).find_map(|seq| store.append(job, seq, &Event::Finished, None).err().map(|error| (seq, error)));
        let (events, error) = stored.unwrap();
        assert_eq!(error, StoreError::Full { file: folder.path().join("audits.db") });
        assert_eq!(store.count(job).unwrap(), events);
        store.locked().pragma_update(None, "max_page_count", pages + 30).unwrap();
        store.append(job, events, &Event::Finished, None).unwrap();
    }

    #[test]
    fn an_event_that_is_missing_is_named() {
        let store = Sqlite::in_memory().unwrap();
        let job = store.create(&asked(), Moment(1)).unwrap().id;
        store.append(job, 0, &Event::Finished, None).unwrap();
        store.append(job, 2, &Event::Finished, None).unwrap();
        assert!(store.append(job, 2, &Event::Finished, None).is_err(), "a number is given once");
        assert!(store.events(job).unwrap_err().to_string().contains("job 1: event 1 is missing"));
    }
}
