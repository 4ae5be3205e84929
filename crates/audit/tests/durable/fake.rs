//! A store in memory that survives its users, and one that fails where it is told to.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use assay_audit::job::{Asked, AuditStore, JobId, Moment, Record, State, StoreError};
use assay_audit::{Event, Progress};

/// Jobs in memory.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Vec<Kept>>);

#[derive(Debug)]
struct Kept {
    record: Record,
    events: Vec<(Event, Option<Progress>)>,
}

impl Memory {
    fn with<T>(&self, job: JobId, work: impl FnOnce(&mut Kept) -> T) -> Result<T, StoreError> {
        let mut jobs = self.0.lock().unwrap();
        let kept = jobs.iter_mut().find(|kept| kept.record.id == job);
        kept.map(work).ok_or_else(|| failed(&format!("there is no job {job}")))
    }
}

impl AuditStore for Memory {
    fn create(&self, asked: &Asked, created: Moment) -> Result<Record, StoreError> {
        let mut jobs = self.0.lock().unwrap();
        if asked.key.is_some() && jobs.iter().any(|kept| kept.record.asked.key == asked.key) {
            return Err(failed("there is a job with this key"));
        }
        let id = JobId(jobs.len() as i64 + 1);
        let record = Record { id, asked: asked.clone(), state: State::Queued, created, started: None, ended: None };
        jobs.push(Kept { record: record.clone(), events: Vec::new() });
        Ok(record)
    }

    fn change(&self, record: &Record) -> Result<(), StoreError> {
        self.with(record.id, |kept| kept.record = record.clone())
    }

    fn append(&self, job: JobId, seq: u64, event: &Event, progress: Option<&Progress>) -> Result<(), StoreError> {
        self.with(job, |kept| {
            assert_eq!(kept.events.len() as u64, seq, "events come in order");
            kept.events.push((event.clone(), progress.cloned()));
        })
    }

    fn records(&self) -> Result<Vec<Record>, StoreError> {
        Ok(self.0.lock().unwrap().iter().map(|kept| kept.record.clone()).collect())
    }

    fn events(&self, job: JobId) -> Result<Vec<Event>, StoreError> {
        self.with(job, |kept| kept.events.iter().map(|(event, _)| event.clone()).collect())
    }

    fn count(&self, job: JobId) -> Result<u64, StoreError> {
        self.with(job, |kept| kept.events.len() as u64)
    }

    fn progress(&self, job: JobId, from: u64) -> Result<Vec<(u64, Progress)>, StoreError> {
        self.with(job, |kept| {
            let told = (0..).zip(&kept.events).skip(from as usize);
            told.filter_map(|(seq, (_, progress))| Some((seq, progress.clone()?))).collect()
        })
    }

    fn delete(&self, job: JobId) -> Result<(), StoreError> {
        self.0.lock().unwrap().retain(|kept| kept.record.id != job);
        Ok(())
    }
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The process dies before it: what it was to write is lost.
    Lost,
    /// The process dies after it: it was written, but nobody was told.
    Untold,
    /// There is no room for what it was to write, nor for anything after it.
    Full,
}

/// A store that fails at one operation and does nothing after it, until it is opened again.
#[derive(Debug)]
pub(crate) struct Failing<'s> {
    store: &'s dyn AuditStore,
    at: usize,
    how: Failure,
    done: AtomicUsize,
}

impl<'s> Failing<'s> {
    /// Fails at operation `at`, counted from 0.
    pub(crate) fn new(store: &'s dyn AuditStore, at: usize, how: Failure) -> Self {
        Self { store, at, how, done: AtomicUsize::new(0) }
    }

    /// Whether it came to that.
    pub(crate) fn has_failed(&self) -> bool {
        self.done.load(Ordering::Relaxed) > self.at
    }

    fn operate<T>(&self, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let number = self.done.fetch_add(1, Ordering::Relaxed);
        match number.cmp(&self.at) {
            std::cmp::Ordering::Less => work(),
            std::cmp::Ordering::Equal if self.how == Failure::Untold => {
                work()?;
                Err(failed("crashed"))
            }
            _ if self.how == Failure::Full => Err(StoreError::Full { file: "audits.db".into() }),
            _ => Err(failed("crashed")),
        }
    }
}

impl AuditStore for Failing<'_> {
    fn create(&self, asked: &Asked, created: Moment) -> Result<Record, StoreError> {
        self.operate(|| self.store.create(asked, created))
    }

    fn change(&self, record: &Record) -> Result<(), StoreError> {
        self.operate(|| self.store.change(record))
    }

    fn append(&self, job: JobId, seq: u64, event: &Event, progress: Option<&Progress>) -> Result<(), StoreError> {
        self.operate(|| self.store.append(job, seq, event, progress))
    }

    fn records(&self) -> Result<Vec<Record>, StoreError> {
        self.operate(|| self.store.records())
    }

    fn events(&self, job: JobId) -> Result<Vec<Event>, StoreError> {
        self.operate(|| self.store.events(job))
    }

    fn count(&self, job: JobId) -> Result<u64, StoreError> {
        self.operate(|| self.store.count(job))
    }

    fn progress(&self, job: JobId, from: u64) -> Result<Vec<(u64, Progress)>, StoreError> {
        self.operate(|| self.store.progress(job, from))
    }

    fn delete(&self, job: JobId) -> Result<(), StoreError> {
        self.operate(|| self.store.delete(job))
    }
}

fn failed(reason: &str) -> StoreError {
    StoreError::Failed { file: "memory".into(), reason: reason.to_owned() }
}
