//! Training on a server: recipes as jobs that survive it, one at a time, behind everything else that it does.
//!
//! A job is taken ([`Hardens::submit`]), written to the disk, and carried out when those before it have ended ([`serve`]). State changes are on the
//! disk before anybody is told of them. Start with [`Hardens`], [`Job`] and [`Record`].

mod data;
mod job;
mod store;
mod work;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use assay_attack::Cancel;
use assay_data::{DataSource, Dataset, Split};
use assay_harden::{ModelSpec, Recipe, RecipeError, architecture};
use tokio::sync::Notify;

use data::Data;
pub(crate) use job::{Job, JobState, Next, State};
use store::{Found, Kept, Made, Parent, Record, Store};
use work::Ended;

use crate::{
    config::{Config, ConfigError},
    core::Core,
    job::StopOnDrop,
    metrics::Metrics,
    principals::Caller,
    quota::{Quotas, Reservation},
    repository::{NAME, is_name},
    status::CallError,
};

/// The jobs of a server.
#[derive(Debug)]
pub(crate) struct Hardens {
    store: Store,
    data: Data,
    /// Jobs that may wait.
    limit: usize,
    jobs: Mutex<Jobs>,
    /// Held by whoever looks whether a recipe can be carried out, which reads files.
    submitting: Mutex<()>,
    /// A job waits.
    queued: Notify,
    unreadable: Vec<String>,
}

#[derive(Debug, Default)]
struct Jobs {
    all: BTreeMap<u64, Arc<Job>>,
    /// The largest id that was given.
    last: u64,
}

impl Hardens {
    /// The jobs in the folders of the configuration; `None` where training is switched off. What is not finished waits for [`Hardens::go_on_all`].
    ///
    /// # Errors
    /// A folder cannot be used. A job that cannot be read is no error: it is left alone, logged and listed.
    pub(crate) fn open(config: &Config) -> Result<Option<Self>, ConfigError> {
        let (Some(state), Some(data)) = (&config.harden.state, &config.harden.data) else { return Ok(None) };
        let refused = |key: &str, path: &Path, expected: String| ConfigError::Value {
            key: key.to_owned(),
            value: format!("\"{}\"", path.display()),
            origin: "the configuration".to_owned(),
            expected,
        };
        let data = data
            .canonicalize()
            .and_then(|folder| folder.read_dir().map(|_| folder))
            .map_err(|e| refused("harden.data", data, format!("the folder of the training data ({e})")))?;
        let unusable = |reason| refused("harden.state", state, format!("a folder for this server's jobs ({reason})"));
        let data = Data { root: data, confine: config.harden.confine };
        let store = Store::open(state).map_err(unusable)?;
        let (mut jobs, mut unreadable) = (Jobs::default(), Vec::new());
        for (id, found) in store.jobs().map_err(unusable)? {
            jobs.last = jobs.last.max(id);
            let job = found.and_then(|found| Job::new(id, &found).map_err(|e| format!("job {id}: {e}")));
            match job {
                Ok(job) => drop(jobs.all.insert(id, Arc::new(job))),
                Err(reason) => {
                    tracing::error!(job = id, reason, "a job cannot be read; it is left alone");
                    unreadable.push(reason);
                }
            }
        }
        let (limit, queued) = (config.harden.jobs, Notify::new());
        let (jobs, submitting) = (Mutex::new(jobs), Mutex::default());
        Ok(Some(Self { store, data, limit, jobs, submitting, queued, unreadable }))
    }

    /// Puts every job that a server left unfinished into the queue.
    pub(crate) fn go_on_all(&self, quotas: &Arc<Quotas>, metrics: &Metrics) {
        let jobs = self.locked();
        for job in jobs.all.values().filter(|job| job.left) {
            if let Some(owner) = &job.owner {
                job.hold(quotas.resume(owner));
            }
            tracing::info!(job = job.id, model = job.recipe.name, "a job goes on");
            job.change(|status| status.state = State::Queued);
        }
        jobs.count(metrics);
        self.queued.notify_one();
    }

    /// Gives the folder of the jobs back, when none of them is carried out here any more.
    pub(crate) fn release(&self) {
        self.store.release();
    }

    /// All jobs that the caller sees, in order of id.
    pub(crate) fn all(&self, caller: &Caller) -> Vec<Arc<Job>> {
        self.locked().all.values().filter(|job| job.is_seen_by(caller)).cloned().collect()
    }

    /// Why folders hold no job that can be read.
    pub(crate) fn unreadable(&self) -> &[String] {
        &self.unreadable
    }

    /// A job that carries `text` out: a new one, or one of the same recipe that the caller sees and that has not ended. Blocks.
    ///
    /// # Errors
    /// The recipe makes no sense, or not on this server; too many jobs wait, or too many of the caller's; it cannot be written.
    pub(crate) fn submit(&self, core: &Core, text: String, caller: &Caller) -> Result<Arc<Job>, CallError> {
        let recipe = Recipe::parse(&text).map_err(wrong)?;
        let digest = recipe.digest().map_err(wrong)?;
        let _one = self.submitting.lock().unwrap_or_else(PoisonError::into_inner);
        let same = self.all(caller).into_iter().find(|job| job.digest == digest && job.has_not_ended());
        if let Some(job) = same {
            self.queue(core, &self.locked(), &job, caller)?;
            return Ok(job);
        }
        let parent = self.check(core, &recipe)?;
        let mut jobs = self.locked();
        jobs.check_room(self.limit)?;
        let id = jobs.last + 1;
        let owner = caller.owner().map(str::to_owned);
        let found = Found { recipe: text, record: Record::new(owner, parent, Kept::Unfinished) };
        let job = Arc::new(Job::new(id, &found).map_err(wrong)?);
        let reservation = core.quotas.reserve(caller, 0)?;
        self.store.create(id, &found).map_err(|e| unwritten(id, &e))?;
        jobs.last = id;
        jobs.all.insert(id, Arc::clone(&job));
        tracing::info!(job = id, model = job.recipe.name, recipe = digest, "a job was taken");
        self.wait(&jobs, &job, reservation, &core.metrics)?;
        Ok(job)
    }

    /// The job of this id, which goes on if it was stopped or failed. Blocks.
    ///
    /// # Errors
    /// There is none; too many jobs wait, or too many of the caller's; it cannot be written.
    pub(crate) fn go_on(&self, core: &Core, id: &str, caller: &Caller) -> Result<Arc<Job>, CallError> {
        let jobs = self.locked();
        let job = jobs.find(id, caller)?;
        self.queue(core, &jobs, &job, caller)?;
        Ok(job)
    }

    /// Stops a job that waits, and tells one that runs to stop. Blocks.
    ///
    /// # Errors
    /// There is none; it neither waits nor runs; it cannot be written.
    pub(crate) fn cancel(&self, id: &str, caller: &Caller, metrics: &Metrics) -> Result<Arc<Job>, CallError> {
        let jobs = self.locked();
        let job = jobs.find(id, caller)?;
        match job.state() {
            State::Queued => {
                self.enter(&job, State::Stopped).map_err(|e| unwritten(job.id, &e))?;
                jobs.count(metrics);
            }
            State::Running => job.change(|status| {
                status.unwanted = true;
                status.cancel.cancel();
            }),
            other => {
                let state = other.kind().name();
                return Err(CallError::Precondition(format!(
                    "job {id} is {state}; only one that waits or runs can be stopped"
                )));
            }
        }
        Ok(job)
    }

    /// What would keep the recipe from being carried out, as far as it can be known before; and the version that it begins with.
    fn check(&self, core: &Core, recipe: &Recipe) -> Result<Option<Parent>, CallError> {
        let name = &recipe.name;
        if !is_name(name) {
            return Err(CallError::field("recipe.name", format!("expected {NAME}, got {name:?}")));
        }
        core.repository.receives(name).map_err(|problem| CallError::field("recipe.name", problem))?;
        let parent = match &recipe.model {
            ModelSpec::Fresh(fresh) => {
                architecture(&fresh.architecture)
                    .map_err(|e| CallError::field("recipe.model.architecture", e.to_string()))?;
                None
            }
            ModelSpec::File(named) => Some(parent(core, named)?),
        };
        if let Some(data) = &recipe.data {
            let wrong = |problem: String| CallError::field("recipe.data.path", problem);
            let source = DataSource::new(self.data.find(&data.path).map_err(wrong)?).with_split(Split::Train);
            Dataset::open(&source, Some(1)).map_err(|e| wrong(e.to_string()))?;
        }
        core.repository.writable(name).map_err(CallError::Precondition)?;
        Ok(parent)
    }

    /// Lets a job that neither waits nor runs wait, unless it is done.
    fn queue(&self, core: &Core, jobs: &Jobs, job: &Arc<Job>, caller: &Caller) -> Result<(), CallError> {
        if matches!(job.state(), State::Stopped | State::Failed(_)) {
            jobs.check_room(self.limit)?;
            self.wait(jobs, job, core.quotas.reserve(caller, 0)?, &core.metrics)?;
        }
        Ok(())
    }

    /// Lets a job wait that there is room for.
    fn wait(&self, jobs: &Jobs, job: &Arc<Job>, reservation: Reservation, metrics: &Metrics) -> Result<(), CallError> {
        self.enter(job, State::Queued).map_err(|e| unwritten(job.id, &e))?;
        job.hold(reservation);
        jobs.count(metrics);
        self.queued.notify_one();
        Ok(())
    }

    /// A job is in another state: the disk first.
    fn enter(&self, job: &Job, state: State) -> std::io::Result<()> {
        self.store.save(job.id, &Record::new(job.owner.clone(), job.parent.clone(), state.kept()))?;
        job.change(|status| status.state = state);
        job.settle();
        Ok(())
    }

    /// The job that is to be carried out next, and the switch that stops it.
    fn next(&self, metrics: &Metrics) -> Option<(Arc<Job>, Cancel)> {
        let jobs = self.locked();
        let job = jobs.all.values().find(|job| job.state() == State::Queued).cloned()?;
        let cancel = Cancel::default();
        job.change(|status| {
            (status.state, status.unwanted, status.cancel) = (State::Running, false, cancel.clone());
        });
        jobs.count(metrics);
        Some((job, cancel))
    }

    /// A job that ran has ended.
    fn ended(&self, job: &Job, result: Result<Made, Ended>, metrics: &Metrics) {
        let jobs = self.locked();
        let unwanted = job.change(|status| status.unwanted);
        let state = match result {
            Ok(made) => State::Done(made),
            Err(Ended::Failed(reason)) => State::Failed(reason),
            Err(Ended::Stopped) if unwanted => State::Stopped,
            // The server stops, and goes on with it when it starts again.
            Err(Ended::Stopped) => State::Queued,
        };
        tracing::info!(job = job.id, model = job.recipe.name, state = ?state, "a job ended");
        let is_done = matches!(state, State::Done(_));
        if let Err(error) = self.enter(job, state.clone()) {
            // Whoever follows it is told what happened; a server that starts anew finds it unfinished, and the same version at its end.
            tracing::error!(job = job.id, %error, "the state of a job cannot be written");
            job.change(|status| status.state = state);
            job.settle();
        } else if is_done {
            // What is left behind is only in the way of nobody.
            let _ = std::fs::remove_dir_all(self.store.run(job.id));
        }
        jobs.count(metrics);
    }

    fn locked(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Jobs {
    /// A job of somebody else is none.
    fn find(&self, id: &str, caller: &Caller) -> Result<Arc<Job>, CallError> {
        let found = id.parse().ok().and_then(|id: u64| self.all.get(&id)).filter(|job| job.is_seen_by(caller)).cloned();
        found.ok_or_else(|| {
            let seen = self.all.values().filter(|job| job.is_seen_by(caller));
            let known: Vec<String> = seen.map(|job| job.id.to_string()).collect();
            CallError::unknown("job", id, known.iter().map(String::as_str))
        })
    }

    fn check_room(&self, limit: usize) -> Result<(), CallError> {
        let waiting = self.all.values().filter(|job| job.state() == State::Queued).count();
        if waiting >= limit {
            return Err(CallError::Busy { what: "jobs of Harden that wait", limit, key: "harden.jobs" });
        }
        Ok(())
    }

    fn count(&self, metrics: &Metrics) {
        let of = |state| self.all.values().filter(|job| job.state().kind() == state).count();
        metrics.hardens(&JobState::ALL.map(|state| (state, of(state))));
    }
}

/// Carries the jobs out, one after the other, from when the models are loaded until the server drains.
pub(crate) async fn serve(core: Arc<Core>) {
    let Some(hardens) = &core.hardens else { return };
    let draining = core.lifecycle.draining();
    tokio::select! {
        () = core.lifecycle.loaded().cancelled() => {}
        () = draining.cancelled() => return,
    }
    while !draining.is_cancelled() {
        let Some((job, cancel)) = hardens.next(&core.metrics) else {
            tokio::select! {
                () = hardens.queued.notified() => continue,
                () = draining.cancelled() => return,
            }
        };
        // Also where this task is dropped with its runtime, which waits for its threads.
        let _stop = StopOnDrop(cancel.clone());
        let (shared, own, switch) = (Arc::clone(&core), Arc::clone(&job), cancel.clone());
        let mut work = tokio::task::spawn_blocking(move || match &shared.hardens {
            Some(hardens) => work::carry_out(&shared, hardens, &own, &switch),
            None => Err(Ended::Stopped),
        });
        let result = tokio::select! {
            result = &mut work => result,
            () = draining.cancelled() => {
                cancel.cancel();
                work.await
            }
        };
        let result = result.unwrap_or_else(|e| Err(Ended::Failed(format!("the work ended early: {e}"))));
        hardens.ended(&job, result, &core.metrics);
    }
}

/// The hosted version that a recipe begins with: `name` or `name/version`.
fn parent(core: &Core, named: &str) -> Result<Parent, CallError> {
    let (name, version) = named.split_once('/').unwrap_or((named, ""));
    let hosted = core.repository.find("recipe.model", name, version)?;
    if hosted.range() != [0.0, 1.0] {
        let [low, high] = hosted.range();
        return Err(CallError::field(
            "recipe.model",
            format!(
                "model `{named}` takes values in [{low}, {high}]; expected one that takes those of data sets, [0, 1]"
            ),
        ));
    }
    Ok(Parent { name: hosted.name.clone(), version: hosted.version })
}

fn wrong(error: RecipeError) -> CallError {
    match error {
        RecipeError::Value { field, expected } => {
            CallError::field(format!("recipe.{field}"), format!("expected {expected}"))
        }
        other => CallError::field("recipe", other.to_string()),
    }
}

fn unwritten(id: u64, error: &std::io::Error) -> CallError {
    CallError::Internal(format!("job {id} cannot be written into harden.state: {error}"))
}
