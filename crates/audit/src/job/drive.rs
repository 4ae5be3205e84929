//! A job carried out: behind the events that are stored, each new one stored before anything else happens.

use assay_attack::Cancel;
use assay_data::Dataset;

use super::record::{JobId, Record};
use super::store::{AuditStore, StoreError};
use crate::event::{Circumstances, Event};
use crate::report::Report;
use crate::run::{Audit, AuditError, Observer, ObserverError, Progress, Subject, run};

/// What a job is carried out on.
pub struct Work<'a> {
    /// The job.
    pub job: &'a Record,
    /// The models of its plan, in its order.
    pub subjects: &'a [Subject<'a>],
    /// Its samples.
    pub data: &'a Dataset,
    /// When it began, and on what.
    pub circumstances: &'a Circumstances,
}

/// Who follows a job while it is carried out. Both methods do nothing unless they are overridden.
pub trait Watcher {
    /// So many events are stored now.
    fn stored(&mut self, events: u64) {
        let _ = events;
    }

    /// Work went on.
    fn progress(&mut self, progress: &Progress) {
        let _ = progress;
    }
}

/// Follows nothing.
impl Watcher for () {}

/// A job that has no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The audit could not be made, or was stopped.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Its events could not be read or written. What is stored stays.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is asked for now is not what the stored events are about.
    #[error("{0}; start the audit anew")]
    Changed(String),
}

/// Carries a job out, or goes on with it, and gives its report. The state of the job is not touched.
///
/// # Errors
/// As [`run`]; the store failed; or models, data or versions are not those that the job was taken with.
pub fn carry_out(
    work: &Work<'_>,
    store: &dyn AuditStore,
    watcher: &mut dyn Watcher,
    cancel: &Cancel,
) -> Result<Report, JobError> {
    let Work { job, subjects, data, circumstances } = work;
    for (asked, subject) in job.asked.models.iter().zip(*subjects) {
        let now = &subject.classifier.spec().digest;
        if *now != asked.digest {
            let (name, version, then) = (&asked.name, &asked.version, &asked.digest);
            let reason = format!("model \"{name}\", version {version}, had the SHA-256 {then} and has {now} now");
            return Err(JobError::Changed(reason));
        }
    }
    let past = store.events(job.id)?;
    watcher.stored(past.len() as u64);
    let audit = Audit {
        plan: &job.asked.plan,
        subjects,
        data,
        shard: job.asked.shard,
        baseline: job.asked.baseline.as_ref(),
        environment: job.asked.environment.clone(),
        circumstances: (*circumstances).clone(),
    };
    let mut recorder = Recorder { job: job.id, store, watcher, events: past.len() as u64, last: None };
    run(&audit, &past, &mut recorder, cancel).map_err(|error| match error {
        AuditError::Store(error) => match error.downcast::<StoreError>() {
            Ok(error) => JobError::Store(*error),
            Err(error) => AuditError::Store(error).into(),
        },
        other => other.into(),
    })
}

/// The report of a job that is done.
///
/// # Errors
/// Its events cannot be read, or are not those of a whole audit.
pub fn report(store: &dyn AuditStore, job: JobId) -> Result<Report, JobError> {
    Ok(Report::fold(&store.events(job)?).map_err(AuditError::from)?)
}

/// The events of a job that is done, in order.
///
/// # Errors
/// They cannot be read.
pub fn events(store: &dyn AuditStore, job: JobId) -> Result<Vec<Event>, JobError> {
    Ok(store.events(job)?)
}

/// Stores each event before the audit goes on.
struct Recorder<'a> {
    job: JobId,
    store: &'a dyn AuditStore,
    watcher: &'a mut dyn Watcher,
    /// How many are stored.
    events: u64,
    /// How far it is, where that was not stored yet.
    last: Option<Progress>,
}

impl Observer for Recorder<'_> {
    fn event(&mut self, event: &Event) -> Result<(), ObserverError> {
        self.store.append(self.job, self.events, event, self.last.take().as_ref())?;
        self.events += 1;
        self.watcher.stored(self.events);
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) {
        self.last = Some(progress.clone());
        self.watcher.progress(progress);
    }
}
