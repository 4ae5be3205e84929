//! A job: what it is to do, how far it is, and what those who follow it are told.

use std::sync::{Mutex, MutexGuard, PoisonError};

use assay_attack::Cancel;
use assay_harden::{EpochResult, Recipe, RunEvent};
use tokio::sync::watch;

use super::store::{Found, Kept, Made, Parent, Record};
use crate::{principals::Caller, quota::Reservation};

/// A job.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: u64,
    pub(crate) recipe: Recipe,
    /// Hexadecimal SHA-256 of the recipe.
    pub(crate) digest: String,
    /// Whose it is; `None`: nobody was asked.
    pub(crate) owner: Option<String>,
    /// What it holds of its owner's quota, until it ends.
    reservation: Mutex<Reservation>,
    /// The version that it begins with; `None`: fresh weights.
    pub(crate) parent: Option<Parent>,
    /// Whether a server left it unfinished when it ended.
    pub(super) left: bool,
    status: Mutex<Status>,
    /// Told whenever the status changes.
    news: watch::Sender<()>,
}

/// What becomes of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Queued,
    Running,
    Stopped,
    Failed(String),
    Done(Made),
}

/// [`State`] without what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobState {
    Queued,
    Running,
    Stopped,
    Failed,
    Done,
}

impl JobState {
    /// All there are.
    pub(crate) const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Stopped, Self::Failed, Self::Done];

    /// Its name in metrics and messages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Done => "done",
        }
    }
}

impl State {
    pub(crate) fn kind(&self) -> JobState {
        match self {
            Self::Queued => JobState::Queued,
            Self::Running => JobState::Running,
            Self::Stopped => JobState::Stopped,
            Self::Failed(_) => JobState::Failed,
            Self::Done(_) => JobState::Done,
        }
    }

    /// What the disk has to know of it.
    pub(super) fn kept(&self) -> Kept {
        match self {
            Self::Queued | Self::Running => Kept::Unfinished,
            Self::Stopped => Kept::Stopped,
            Self::Failed(reason) => Kept::Failed(reason.clone()),
            Self::Done(made) => Kept::Done(made.clone()),
        }
    }
}

/// How far a job is.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub(crate) state: State,
    /// Epochs that are done, and those that there are to be.
    pub(crate) epochs: [u32; 2],
    /// Whether it waits between two steps, for work that comes first.
    pub(crate) waiting: bool,
    /// Whether somebody wants it to stop for good.
    pub(super) unwanted: bool,
    /// Stops the run of now.
    pub(super) cancel: Cancel,
    /// What happened since the server works on it, but for steps.
    events: Vec<RunEvent>,
    /// The latest steps since, with their number.
    steps: Option<(u64, RunEvent)>,
    /// Steps that were told of.
    told: u64,
}

impl Job {
    /// A job in the state that its record says. One that is not finished waits for somebody to ask for it.
    ///
    /// # Errors
    /// Its recipe cannot be read.
    pub(super) fn new(id: u64, found: &Found) -> Result<Self, assay_harden::RecipeError> {
        let recipe = Recipe::parse(&found.recipe)?;
        let Record { owner, parent, state, .. } = found.record.clone();
        let left = state == Kept::Unfinished;
        let state = match state {
            Kept::Unfinished | Kept::Stopped => State::Stopped,
            Kept::Failed(reason) => State::Failed(reason),
            Kept::Done(made) => State::Done(made),
        };
        let status = Status {
            state,
            epochs: [0, recipe.epochs],
            waiting: false,
            unwanted: false,
            cancel: Cancel::default(),
            events: Vec::new(),
            steps: None,
            told: 0,
        };
        Ok(Self {
            id,
            digest: recipe.digest()?,
            recipe,
            owner,
            reservation: Mutex::default(),
            parent,
            left,
            status: Mutex::new(status),
            news: watch::Sender::new(()),
        })
    }

    /// It holds this of its owner's quota.
    pub(super) fn hold(&self, reservation: Reservation) {
        *self.reservation.lock().unwrap_or_else(PoisonError::into_inner) = reservation;
    }

    /// Gives back what it holds, if it neither waits nor runs.
    pub(super) fn settle(&self) {
        if !matches!(self.state(), State::Queued | State::Running) {
            self.hold(Reservation::default());
        }
    }

    /// Whether it is there, as far as somebody can tell.
    pub(super) fn is_seen_by(&self, caller: &Caller) -> bool {
        caller.sees(self.owner.as_deref())
    }

    /// How far it is.
    pub(crate) fn status(&self) -> Status {
        self.locked().clone()
    }

    /// What becomes of it.
    pub(crate) fn state(&self) -> State {
        self.locked().state.clone()
    }

    /// Whether its model may still come without somebody who tries it again.
    pub(super) fn has_not_ended(&self) -> bool {
        matches!(self.locked().state, State::Queued | State::Running | State::Stopped)
    }

    /// Follows it from the beginning.
    pub(crate) fn follow(&self) -> Follower<'_> {
        Follower { job: self, news: self.news.subscribe(), read: 0, steps: 0 }
    }

    /// Something happened in its run.
    pub(super) fn observe(&self, event: RunEvent) {
        self.change(|status| match &event {
            RunEvent::Steps { .. } => {
                status.told += 1;
                status.steps = Some((status.told, event));
            }
            other => {
                match other {
                    RunEvent::Began { epochs_done, epochs, .. } => status.epochs = [*epochs_done, *epochs],
                    RunEvent::Epoch(EpochResult { epoch, epochs, .. }) => status.epochs = [*epoch, *epochs],
                    _ => {}
                }
                status.steps = None;
                status.events.push(event);
            }
        });
    }

    /// Changes its status, and tells those who follow it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Status) -> T) -> T {
        let changed = change(&mut self.locked());
        self.news.send_replace(());
        changed
    }

    fn locked(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who follows a job: he is told of every event but steps, of which he is told the latest.
#[derive(Debug)]
pub(crate) struct Follower<'a> {
    job: &'a Job,
    news: watch::Receiver<()>,
    /// Events that he was told of.
    read: usize,
    /// The number of the steps that he was told of.
    steps: u64,
}

/// What is next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Next {
    /// Something happened.
    Event(RunEvent),
    /// Nothing more happens: the job stopped, failed or is done.
    Ended(State),
}

impl Follower<'_> {
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
        if let Some(event) = status.events.get(self.read) {
            self.read += 1;
            return Some(Next::Event(event.clone()));
        }
        if let Some((number, steps)) = status.steps.as_ref().filter(|(number, _)| *number > self.steps) {
            self.steps = *number;
            return Some(Next::Event(steps.clone()));
        }
        match status.state {
            State::Queued | State::Running => None,
            _ => Some(Next::Ended(status.state.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const RECIPE: &str = r#"
        schema = 1
        name = "net"
        epochs = 3
        model = { architecture = "cnn-8" }
        data = { path = "data" }
        objective = { kind = "standard" }
        optimizer = { kind = "sgd", rate = 0.1 }
    "#;

    fn job(state: Kept) -> Job {
        Job::new(1, &Found { recipe: RECIPE.to_owned(), record: Record::new(None, None, state) }).unwrap()
    }

    fn began() -> RunEvent {
        RunEvent::Began { epochs_done: 1, epochs: 3, training: 10, validation: 0 }
    }

    fn steps(done: u64) -> RunEvent {
        RunEvent::Steps { epoch: 2, done, of: 9, loss: 1.0, rate: 1.0, left: Duration::ZERO }
    }

    #[test]
    fn what_was_not_finished_waits_for_somebody() {
        assert_eq!(job(Kept::Unfinished).state(), State::Stopped);
        assert_eq!(job(Kept::Failed("why".to_owned())).state(), State::Failed("why".to_owned()));
    }

    #[tokio::test]
    async fn who_comes_late_is_told_of_all_but_old_steps() {
        let job = job(Kept::Unfinished);
        job.change(|status| status.state = State::Running);
        let mut early = job.follow();
        job.observe(began());
        assert_eq!(early.next().await, Next::Event(began()));
        (1..=9).for_each(|done| job.observe(steps(done)));
        assert_eq!(early.next().await, Next::Event(steps(9)));
        assert_eq!(job.status().epochs, [1, 3]);
        let mut late = job.follow();
        job.change(|status| status.state = State::Stopped);
        assert_eq!(early.next().await, Next::Ended(State::Stopped));
        for expected in [Next::Event(began()), Next::Event(steps(9)), Next::Ended(State::Stopped)] {
            assert_eq!(late.next().await, expected);
        }
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let job = job(Kept::Unfinished);
        job.change(|status| status.state = State::Running);
        let mut follower = job.follow();
        let (next, ()) = tokio::join!(follower.next(), async { job.observe(began()) });
        assert_eq!(next, Next::Event(began()));
    }
}
