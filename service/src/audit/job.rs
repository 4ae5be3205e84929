//! An audit while the server has it: what is known of it, and what those who follow it are told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64};

use assay_attack::Cancel;
use assay_audit::{
    Progress,
    job::{JobId, Record, State, Watcher},
};
use tokio::sync::watch;

use crate::{principals::Caller, quota::Reservation};

/// An audit.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    status: Mutex<Status>,
    /// Evaluations that it may need, where its owner has a quota of them.
    worst: u64,
    /// What it holds of its owner's quota, until it ends.
    reservation: Mutex<Reservation>,
    /// Told whenever the status changes.
    news: watch::Sender<()>,
}

/// What is known of an audit.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    /// As it is stored.
    pub(crate) record: Record,
    /// Events that are stored.
    pub(crate) events: u64,
    /// Whether a server left it off, and nobody asked this one to go on with it.
    pub(super) held: bool,
    /// Whether somebody wants it to stop for good.
    pub(super) unwanted: bool,
    /// Stops the run of now.
    pub(super) cancel: Cancel,
    /// How far it is beyond its events, with its number.
    latest: Option<(u64, Progress)>,
    /// How far it was when that was told last.
    pub(crate) seen: Option<Progress>,
    /// How often its progress was told.
    told: u64,
}

impl Job {
    /// A job with so many events.
    pub(super) fn new(record: Record, events: u64, held: bool) -> Self {
        let id = record.id;
        let status = Status {
            record,
            events,
            held,
            unwanted: false,
            cancel: Cancel::default(),
            latest: None,
            seen: None,
            told: 0,
        };
        Self { id, status: Mutex::new(status), worst: 0, reservation: Mutex::default(), news: watch::Sender::new(()) }
    }

    /// The same, of which is known what it may need.
    pub(super) fn of(self, worst: u64) -> Self {
        Self { worst, ..self }
    }

    /// Evaluations that it may need, where its owner has a quota of them and this server has taken it.
    pub(super) fn worst(&self) -> u64 {
        self.worst
    }

    /// It holds this of its owner's quota.
    pub(super) fn hold(&self, reservation: Reservation) {
        *self.reserved() = reservation;
    }

    /// Gives back what it holds, if it has ended.
    pub(super) fn settle(&self) {
        if self.look(|status| status.record.state.has_ended()) {
            *self.reserved() = Reservation::default();
        }
    }

    /// Where the samples that it evaluates are counted.
    pub(super) fn meter(&self) -> Arc<AtomicU64> {
        self.reserved().meter()
    }

    fn reserved(&self) -> MutexGuard<'_, Reservation> {
        self.reservation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose it is.
    pub(super) fn owner(&self) -> Option<String> {
        self.look(|status| status.record.asked.owner.clone())
    }

    /// Whether it is there, as far as somebody can tell.
    pub(super) fn is_seen_by(&self, caller: &Caller) -> bool {
        self.look(|status| caller.sees(status.record.asked.owner.as_deref()))
    }

    /// What is known of it.
    pub(crate) fn status(&self) -> Status {
        self.locked().clone()
    }

    /// Whether it is waiting for a place.
    pub(super) fn waits(&self) -> bool {
        let status = self.locked();
        status.record.state == State::Queued && !status.held
    }

    /// Looks at what is known of it.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Status) -> T) -> T {
        look(&self.locked())
    }

    /// Changes what is known of it, and tells those who follow it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Status) -> T) -> T {
        let changed = change(&mut self.locked());
        self.news.send_replace(());
        changed
    }

    /// Follows it from event number `from` on.
    pub(crate) fn follow(&self, from: u64) -> Follower<'_> {
        Follower { job: self, news: self.news.subscribe(), read: from, progress: 0, state: None }
    }

    fn locked(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a run tells of a job.
pub(super) struct Told<'a>(pub(super) &'a Job);

impl Watcher for Told<'_> {
    fn stored(&mut self, events: u64) {
        self.0.change(|status| {
            status.events = events;
            // The event says how far it is.
            status.latest = None;
        });
    }

    fn progress(&mut self, progress: &Progress) {
        self.0.change(|status| {
            status.told += 1;
            status.latest = Some((status.told, progress.clone()));
            status.seen = Some(progress.clone());
        });
    }
}

/// Somebody who follows a job: he is told of every event and every state, and of the latest progress.
#[derive(Debug)]
pub(crate) struct Follower<'a> {
    job: &'a Job,
    news: watch::Receiver<()>,
    /// Events that he was told of.
    read: u64,
    /// The number of the progress that he was told of.
    progress: u64,
    /// The state that he was told of.
    state: Option<State>,
}

/// What is next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Next {
    /// There are stored events from this number on.
    Events(u64),
    /// It has another state.
    State(Box<Status>),
    /// It is so far, behind its events.
    Progress(Progress),
    /// Nothing more happens: it has ended.
    Ended(State),
}

impl PartialEq for Status {
    fn eq(&self, other: &Self) -> bool {
        (&self.record, self.events, self.held) == (&other.record, other.events, other.held)
    }
}

impl Follower<'_> {
    /// Events that he was told of.
    pub(crate) fn read(&self) -> u64 {
        self.read
    }

    /// Waits for what is next.
    pub(crate) async fn next(&mut self) -> Next {
        loop {
            self.news.mark_unchanged();
            if let Some(next) = self.ready() {
                return next;
            }
            // The job, and the sender in it, outlives whoever follows it.
            let _ = self.news.changed().await;
        }
    }

    fn ready(&mut self) -> Option<Next> {
        let status = self.job.locked();
        let state = &status.record.state;
        if self.state.is_none() || (self.state.as_ref() != Some(state) && !state.has_ended()) {
            self.state = Some(state.clone());
            return Some(Next::State(Box::new(status.clone())));
        }
        if status.events > self.read {
            let from = std::mem::replace(&mut self.read, status.events);
            return Some(Next::Events(from));
        }
        if let Some((number, progress)) = status.latest.as_ref().filter(|(number, _)| *number > self.progress) {
            self.progress = *number;
            return Some(Next::Progress(progress.clone()));
        }
        state.has_ended().then(|| Next::Ended(state.clone()))
    }
}

#[cfg(test)]
mod tests {
    use assay_audit::{
        Environment, ModelId, Plan, Verdict,
        job::{Asked, DataRef, Moment},
    };

    use super::*;

    fn job() -> Job {
        let plan = "schema = 1\nmodels = [{ name = \"a\" }]\n[[evaluations]]\nnorm = \"L2\"\neps = \"1\"\nattacks = [{ name = \"fgsm\" }]";
        let environment = Environment { assay: String::new(), onnxruntime: String::new(), optimization: String::new() };
        let data = DataRef::Registered { name: "ramp".to_owned() };
        let plan = Plan::parse(plan).unwrap();
        let asked =
            Asked { owner: None, key: None, plan, data, shard: None, baseline: None, models: Vec::new(), environment };
        let record =
            Record { id: JobId(1), asked, state: State::Running, created: Moment(1), started: None, ended: None };
        Job::new(record, 0, false)
    }

    fn progress(steps_done: u64) -> Progress {
        let stage = "clean".to_owned();
        Progress {
            model: ModelId(0),
            stage,
            stage_number: 1,
            stages: 2,
            samples: 9,
            correct: 9,
            steps_done,
            steps_total: 9,
        }
    }

    /// The next thing, of states only their name.
    async fn next(follower: &mut Follower<'_>) -> String {
        match follower.next().await {
            Next::State(status) => status.record.state.name().to_owned(),
            Next::Events(from) => format!("events from {from}"),
            Next::Progress(progress) => format!("{} steps", progress.steps_done),
            Next::Ended(state) => format!("ended, {}", state.name()),
        }
    }

    #[tokio::test]
    async fn who_follows_is_told_of_every_event_and_of_the_latest_progress() {
        let job = job();
        let mut told = Told(&job);
        let mut early = job.follow(0);
        assert_eq!(next(&mut early).await, "running");
        (1..=7).for_each(|steps| told.progress(&progress(steps)));
        assert_eq!(next(&mut early).await, "7 steps");
        told.stored(2);
        told.progress(&progress(8));
        let mut late = job.follow(1);
        job.change(|status| status.record.state = State::Done(Verdict::Pass));
        for expected in ["events from 0", "8 steps", "ended, done"] {
            assert_eq!(next(&mut early).await, expected);
        }
        for expected in ["done", "events from 1", "8 steps", "ended, done"] {
            assert_eq!(next(&mut late).await, expected);
        }
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let job = job();
        let mut follower = job.follow(0);
        assert_eq!(next(&mut follower).await, "running");
        let (next, ()) = tokio::join!(next(&mut follower), async { Told(&job).stored(1) });
        assert_eq!((next.as_str(), follower.read()), ("events from 0", 1));
    }
}
