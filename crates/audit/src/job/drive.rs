//! A job carried out: behind the events that are stored, each new one stored before anything else happens.

use assay_attack::Cancel;
use assay_data::Dataset;

use super::record::{JobId, Record};
use super::store::{AuditStore, StoreError};
use crate::event::Event;
use crate::report::Report;
use crate::run::{AuditError, Observer, Progress, Subject, run};

/// What a job is carried out on.
pub struct Work<'a> {
    /// The job.
    pub job: &'a Record,
    /// The models of its plan, in its order.
    pub subjects: &'a [Subject<'a>],
    /// Its samples.
    pub data: &'a Dataset,
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
    let Work { job, subjects, data } = work;
    for (asked, subject) in job.asked.models.iter().zip(*subjects) {
        let now = &subject.classifier.spec().digest;
        if *now != asked.digest {
            let (name, version, then) = (&asked.name, &asked.version, &asked.digest);
            let reason = format!("model \"{name}\", version {version}, had the SHA-256 {then} and has {now} now");
            return Err(JobError::Changed(reason));
        }
    }
    let past = store.events(job.id)?;
    if let Some(Event::Started { setup, .. }) = past.first() {
        let (then, now) = (&setup.data, data);
        if then.digest != now.digest() || then.samples != now.len() as u64 {
            let reason = format!("data set \"{}\" has changed since the job began", then.name);
            return Err(JobError::Changed(reason));
        }
    }
    watcher.stored(past.len() as u64);
    let recorder =
        Recorder { job: job.id, store, watcher, past, seq: 0, last: None, stop: cancel.child(), failed: None };
    go_on(work, recorder)
}

/// The report of a job that is done.
///
/// # Errors
/// Its events cannot be read, or are not those of a whole audit.
pub fn report(store: &dyn AuditStore, job: JobId) -> Result<Report, JobError> {
    Ok(Report::fold(&store.events(job)?).map_err(AuditError::from)?)
}

/// Goes on behind the events that are stored.
///
/// [`run`] begins from the start and is as deterministic as its models: what it says again is compared with what is stored, and what is stored counts.
fn go_on(work: &Work<'_>, mut recorder: Recorder<'_>) -> Result<Report, JobError> {
    let Work { job, subjects, data } = work;
    let (plan, environment, stop) = (&job.asked.plan, job.asked.environment.clone(), recorder.stop.clone());
    let ran = run(plan, subjects, data, environment, &mut recorder, &stop);
    if let Some(failed) = recorder.failed {
        return Err(failed);
    }
    // Made of what it said this time; what is stored counts.
    drop(ran?);
    Ok(Report::fold(&recorder.past).map_err(AuditError::from)?)
}

/// Stores each event that is new before the audit goes on.
struct Recorder<'a> {
    job: JobId,
    store: &'a dyn AuditStore,
    watcher: &'a mut dyn Watcher,
    /// What is stored.
    past: Vec<Event>,
    /// Events that the run has told of.
    seq: usize,
    /// How far it is, where that was not stored yet.
    last: Option<Progress>,
    stop: Cancel,
    /// Why nothing more can be stored.
    failed: Option<JobError>,
}

impl Recorder<'_> {
    fn store(&mut self, event: &Event) -> Result<(), JobError> {
        let (seq, last) = (self.seq, self.last.take());
        self.seq += 1;
        if let Some(stored) = self.past.get(seq) {
            return match same(stored, event) {
                true => Ok(()),
                false => Err(JobError::Changed(format!(
                    "event {seq} came out otherwise than the stored one: the models do not give the same numbers twice"
                ))),
            };
        }
        self.store.append(self.job, seq as u64, event, last.as_ref())?;
        self.past.push(event.clone());
        self.watcher.stored(self.past.len() as u64);
        Ok(())
    }
}

impl Observer for Recorder<'_> {
    fn event(&mut self, event: &Event) {
        if self.failed.is_some() {
            return;
        }
        if let Err(error) = self.store(event) {
            self.failed = Some(error);
            self.stop.cancel();
        }
    }

    fn progress(&mut self, progress: &Progress) {
        self.last = Some(progress.clone());
        if self.seq >= self.past.len() {
            self.watcher.progress(progress);
        }
    }
}

/// Whether two events tell the same, whatever time it took.
fn same(one: &Event, other: &Event) -> bool {
    let timeless = |event: &Event| {
        let mut event = event.clone();
        match &mut event {
            Event::Clean(clean) => clean.cost.seconds = 0.0,
            Event::Attacked(attacked) => attacked.cost.seconds = 0.0,
            _ => {}
        }
        event
    };
    timeless(one) == timeless(other)
}
