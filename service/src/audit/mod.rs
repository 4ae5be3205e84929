//! Audits on a server: jobs that need nobody to wait for them and, where the configuration has a folder for them, survive the server.
//!
//! An audit is taken ([`Audits::start`]), waits for a place, and is carried out ([`serve`]). What becomes of it is decided by
//! [`State::on`](assay_audit::job::State::on) and stored before anybody is told. Start with [`Audits`] and [`Job`].

mod data;
mod job;
mod quote;
mod retain;
mod spool;
mod work;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use assay_attack::Cancel;
use assay_audit::{
    Baseline, ModelRef, Plan, Quote, Report, Shard,
    job::{Asked, AuditStore, DataRef, Input, JobId, ModelDigest, Moment, Record, Sqlite, State, StoreError},
};
use assay_runtime::{BACKGROUND, behind};
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

use data::Data;
pub(crate) use job::{Job, Next};
pub(crate) use quote::Quoted;
pub(crate) use spool::Spool;
use work::Ended;
pub(crate) use work::rfc3339;

use crate::{
    admission::Permit,
    certifying::supported,
    config::{self, Config, ConfigError},
    core::Core,
    job::StopOnDrop,
    metrics::Metrics,
    principals::Caller,
    quota::Quotas,
    repository::Hosted,
    status::CallError,
};

/// The audits of a server.
#[derive(Debug)]
pub(crate) struct Audits {
    store: Sqlite,
    pub(crate) spool: Spool,
    limits: config::Audits,
    jobs: Mutex<BTreeMap<JobId, Arc<Job>>>,
    /// A job waits.
    queued: Notify,
}

/// What somebody asks for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) caller: Caller,
    /// By what he knows it again.
    pub(crate) key: Option<String>,
    /// Whether he means any audit of the same that has not ended, or that failed.
    pub(crate) join: bool,
    /// Models may have no version: the newest.
    pub(crate) plan: Plan,
    pub(crate) data: DataRef,
    pub(crate) shard: Option<Shard>,
    pub(crate) baseline: Option<Baseline>,
}

/// An audit that was asked for, and what was found out on the way.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) job: Arc<Job>,
    /// Number of its samples, if they were looked at.
    pub(crate) samples: Option<usize>,
}

impl Wanted {
    /// What is asked of this server, whose models have no versions yet.
    fn asked(self, core: &Core) -> Asked {
        let Self { caller, key, plan, data, shard, baseline, .. } = self;
        let (owner, environment) = (caller.owner().map(str::to_owned), work::environment(core));
        Asked { owner, key, plan, data, shard, baseline, models: Vec::new(), environment }
    }
}

/// What is asked for with the versions of its models, and those models.
struct Chosen {
    asked: Asked,
    /// The model that the samples are read for.
    first: Arc<Hosted>,
    /// All of them.
    hosted: Vec<Arc<Hosted>>,
}

impl Chosen {
    /// Models without a version are the newest.
    fn of(core: &Core, asked: Asked) -> Result<Self, CallError> {
        let find = |(i, model): (usize, &ModelRef)| {
            core.repository.find(&format!("models[{i}].model"), &model.name, &model.version)
        };
        let hosted = asked.plan.models.iter().enumerate().map(find).collect::<Result<Vec<_>, _>>()?;
        let first = hosted.first().cloned();
        let first = first.ok_or_else(|| CallError::field("models", "expected 1 or 2 models, got 0"))?;
        let models: Vec<ModelDigest> = hosted.iter().map(|hosted| digest(hosted)).collect();
        let of = |model: &ModelDigest| ModelRef { name: model.name.clone(), version: model.version.clone() };
        let plan = Plan { models: models.iter().map(of).collect(), ..asked.plan };
        // Two names may be one version.
        plan.check().map_err(|e| CallError::field("models", e.to_string()))?;
        // Found out later, it would be after the attacks.
        if let Some(certification) = &plan.certification {
            hosted.iter().try_for_each(|hosted| supported(hosted, &certification.methods()))?;
        }
        Ok(Self { asked: Asked { plan, models, ..asked }, first, hosted })
    }
}

impl Audits {
    /// The jobs of the configuration's folder, or none that last. What is not finished waits for [`Audits::go_on_all`].
    ///
    /// # Errors
    /// The folder cannot be used: it belongs to another server, or its database is damaged.
    pub(crate) fn open(config: &Config) -> Result<Self, ConfigError> {
        let state = config.audits.state.as_deref();
        let unusable = |reason: String| ConfigError::Value {
            key: "audits.state".to_owned(),
            value: state.map_or_else(|| "unset".to_owned(), |state| format!("\"{}\"", state.display())),
            origin: "the configuration".to_owned(),
            expected: format!("a folder for this server's audits ({reason})"),
        };
        let store = state.map_or_else(Sqlite::in_memory, Sqlite::open).map_err(|e| unusable(e.to_string()))?;
        let spool = Spool::open(state, &config.audits).map_err(|e| unusable(e.to_string()))?;
        let mut jobs = BTreeMap::new();
        for record in store.records().map_err(|e| unusable(e.to_string()))? {
            let events = store.count(record.id).map_err(|e| unusable(e.to_string()))?;
            let held = !record.state.has_ended();
            // Whoever carried it out is gone.
            let record = if held { Record { state: State::Queued, ..record } } else { record };
            jobs.insert(record.id, Arc::new(Job::new(record, events, held)));
        }
        let (jobs, limits) = (Mutex::new(jobs), config.audits.clone());
        Ok(Self { store, spool, limits, jobs, queued: Notify::new() })
    }

    /// Puts every job that a server left off into the queue, and forgets those that are too old or too many. Blocks.
    pub(crate) fn go_on_all(&self, quotas: &Arc<Quotas>, metrics: &Metrics) {
        let jobs = self.locked();
        for job in jobs.values() {
            if job.change(|status| std::mem::take(&mut status.held)) {
                if let Some(owner) = job.owner() {
                    job.hold(quotas.resume(&owner));
                }
                tracing::info!(job = %job.id, "an audit goes on");
            }
        }
        drop(jobs);
        self.tidy(metrics);
        self.queued.notify_one();
    }

    /// Gives the folder of the jobs back, when none of them is carried out here any more.
    pub(crate) fn release(&self) {
        self.store.release();
    }

    /// Whether jobs survive the server.
    pub(crate) fn is_durable(&self) -> bool {
        self.limits.state.is_some()
    }

    /// What is stored of the jobs. Its methods block.
    pub(crate) fn store(&self) -> &dyn AuditStore {
        &self.store
    }

    /// All jobs that the caller sees, in order of their numbers.
    pub(crate) fn all(&self, caller: &Caller) -> Vec<Arc<Job>> {
        self.locked().values().filter(|job| job.is_seen_by(caller)).cloned().collect()
    }

    /// The job of this id.
    ///
    /// # Errors
    /// There is none, as far as the caller can tell.
    pub(crate) fn find(&self, id: &str, caller: &Caller) -> Result<Arc<Job>, CallError> {
        find(&self.locked(), id, caller)
    }

    /// Place of a job in the queue, from 1; 0: it does not wait for one.
    pub(crate) fn position(&self, job: &Job) -> u32 {
        if !job.waits() {
            return 0;
        }
        let before = self.locked().range(..job.id).filter(|(_, other)| other.waits()).count();
        u32::try_from(before + 1).unwrap_or(u32::MAX)
    }

    /// A job that does what is wanted: a new one, or one that is meant by key or because it does the same. Blocks.
    ///
    /// # Errors
    /// The key belongs to another job; models or data are not there or do not fit; too many jobs wait; the caller may not have so many, or none so large;
    /// it cannot be stored.
    pub(crate) fn start(&self, core: &Core, wanted: Wanted) -> Result<Taken, CallError> {
        let (join, caller) = (wanted.join, wanted.caller.clone());
        let asked = wanted.asked(core);
        let jobs = self.locked();
        if let Some(job) = keyed(&jobs, &asked)? {
            self.ask_again(core, &jobs, &job, &caller)?;
            return Ok(Taken { job, samples: None });
        }
        drop(jobs);
        let Chosen { asked, first, .. } = Chosen::of(core, asked)?;
        let samples = Data::find(core, &self.spool, &asked)?.check(&first)?;
        let worst = self.worst_case(core, &caller, &asked, &first)?;
        let mut jobs = self.locked();
        if let Some(job) = meant(&jobs, &asked, join, &caller)? {
            self.ask_again(core, &jobs, &job, &caller)?;
            return Ok(Taken { job, samples });
        }
        self.check_room(&jobs)?;
        let reservation = core.quotas.reserve(&caller, worst)?;
        let now = now();
        let record = self.store.create(&asked, now).map_err(unstored)?;
        let job = Arc::new(Job::new(record, 0, false).of(worst));
        job.hold(reservation);
        tracing::info!(job = %job.id, "an audit was taken");
        jobs.insert(job.id, Arc::clone(&job));
        count(&jobs, &core.metrics);
        self.queued.notify_one();
        Ok(Taken { job, samples })
    }

    /// The evaluations that an audit may need, where the caller has a quota of them: else nobody wants to know. Blocks.
    fn worst_case(&self, core: &Core, caller: &Caller, asked: &Asked, first: &Hosted) -> Result<u64, CallError> {
        if caller.principal().is_none_or(|principal| principal.quota().evaluations_per_day.is_none()) {
            return Ok(0);
        }
        let samples = data::number(core, &self.spool, asked, 0, first)?;
        let quote = Quote::of(&asked.plan, samples, first.spec().features(), asked.shard)
            .map_err(|error| CallError::field("plan", error.to_string()))?;
        let cost = quote.cost();
        let certificates = match quote.certificates() {
            0 => 0,
            // Each sample is predicted once more.
            certificates => certificates.saturating_mul(2),
        };
        Ok(cost.queries.saturating_add(cost.gradients).saturating_add(certificates))
    }

    /// The job of this id, which goes on if it failed or was left off. Blocks.
    ///
    /// # Errors
    /// There is none; too many jobs wait; the caller may not have so many, or none so large; it cannot be stored.
    pub(crate) fn go_on(&self, core: &Core, id: &str, caller: &Caller) -> Result<Arc<Job>, CallError> {
        let jobs = self.locked();
        let job = find(&jobs, id, caller)?;
        self.ask_again(core, &jobs, &job, caller)?;
        Ok(job)
    }

    /// Cancels a job that waits, and tells one that runs to stop. Blocks.
    ///
    /// # Errors
    /// There is none; it has ended; it cannot be stored.
    pub(crate) fn cancel(&self, id: &str, caller: &Caller, metrics: &Metrics) -> Result<Arc<Job>, CallError> {
        let jobs = self.locked();
        let job = find(&jobs, id, caller)?;
        if job.look(|status| status.record.state == State::Running) {
            job.change(|status| {
                status.unwanted = true;
                status.cancel.cancel();
            });
        } else {
            self.enter(&job, Input::Cancelled)?;
            drop(jobs);
            self.tidy(metrics);
        }
        Ok(job)
    }

    /// Forgets a job that has ended, and the samples that only it needed. Blocks.
    ///
    /// # Errors
    /// There is none; it has not ended; it cannot be removed.
    pub(crate) fn delete(&self, id: &str, caller: &Caller, metrics: &Metrics) -> Result<(), CallError> {
        let mut jobs = self.locked();
        let job = find(&jobs, id, caller)?;
        let state = job.look(|status| status.record.state.clone());
        if !state.has_ended() {
            let state = state.name();
            return Err(CallError::Precondition(format!("audit {id} is {state}; cancel it before it is deleted")));
        }
        self.store.delete(job.id).map_err(unstored)?;
        jobs.remove(&job.id);
        count(&jobs, metrics);
        self.sweep(&jobs);
        Ok(())
    }

    /// Lets a job wait that failed or was left off.
    fn ask_again(
        &self,
        core: &Core,
        jobs: &BTreeMap<JobId, Arc<Job>>,
        job: &Arc<Job>,
        caller: &Caller,
    ) -> Result<(), CallError> {
        let (failed, held) = job.look(|status| (matches!(status.record.state, State::Failed(_)), status.held));
        if failed || held {
            self.check_room(jobs)?;
            let reservation = core.quotas.reserve(caller, job.worst())?;
            self.enter(job, Input::AskedAgain)?;
            job.change(|status| status.held = false);
            job.hold(reservation);
            count(jobs, &core.metrics);
            self.queued.notify_one();
        }
        Ok(())
    }

    fn check_room(&self, jobs: &BTreeMap<JobId, Arc<Job>>) -> Result<(), CallError> {
        let limit = self.limits.queue;
        if jobs.values().filter(|job| job.waits()).count() >= limit {
            return Err(CallError::Busy { what: "audits that wait", limit, key: "audits.queue" });
        }
        Ok(())
    }

    /// Something happens to a job: the store knows first.
    fn enter(&self, job: &Job, input: Input) -> Result<(), CallError> {
        let record = job.look(|status| status.record.clone());
        let next = record.on(input, now()).map_err(|e| CallError::Precondition(format!("audit {}: {e}", job.id)))?;
        if next != record {
            self.store.change(&next).map_err(unstored)?;
            job.change(|status| status.record = next);
            job.settle();
        }
        Ok(())
    }

    /// The job that is to be carried out next, and the switch that stops it. Blocks.
    fn next(&self, metrics: &Metrics) -> Option<(Arc<Job>, Cancel)> {
        let jobs = self.locked();
        let job = jobs.values().find(|job| job.waits()).cloned()?;
        let cancel = Cancel::default();
        job.change(|status| (status.unwanted, status.cancel) = (false, cancel.clone()));
        if let Err(error) = self.enter(&job, Input::Begun) {
            self.end(&job, Input::Failed(error.to_string()));
            count(&jobs, metrics);
            return None;
        }
        count(&jobs, metrics);
        Some((job, cancel))
    }

    /// A job that ran has ended. Blocks.
    fn ended(&self, job: &Job, result: Result<Report, Ended>, metrics: &Metrics) {
        let jobs = self.locked();
        let input = match result {
            Ok(report) => Input::Reached(report.verdict),
            Err(Ended::Failed(reason)) => Input::Failed(reason),
            Err(Ended::Stopped) if job.look(|status| status.unwanted) => Input::Cancelled,
            // The server stops, and goes on with it when it starts again.
            Err(Ended::Stopped) => Input::LeftOff,
        };
        let verdict = match input {
            Input::Reached(verdict) => Some(verdict),
            _ => None,
        };
        // Nobody begins it again while the server stops.
        job.change(|status| status.held = input == Input::LeftOff);
        // Whoever has the report finds it counted.
        if let Some(verdict) = verdict {
            let begun = job.look(|status| status.record.started.unwrap_or(status.record.created));
            metrics.audited(verdict, SystemTime::from(begun).elapsed().unwrap_or_default());
        }
        self.end(job, input);
        count(&jobs, metrics);
        drop(jobs);
        self.tidy(metrics);
    }

    /// What happened to a job is true even where it cannot be stored.
    fn end(&self, job: &Job, input: Input) {
        tracing::info!(job = %job.id, what = ?input, "an audit ended");
        if let Err(error) = self.enter(job, input.clone()) {
            // Whoever follows it is told; a server that starts anew goes on behind its events, to the same end.
            tracing::error!(job = %job.id, %error, "the state of an audit cannot be stored");
            job.change(|status| {
                if let Ok(record) = status.record.on(input, now()) {
                    status.record = record;
                }
            });
            job.settle();
        }
    }

    /// Forgets jobs that are too old or too many.
    fn tidy(&self, metrics: &Metrics) {
        let mut jobs = self.locked();
        let ended = |job: &Arc<Job>| job.look(|status| Some((job.id, status.record.ended?)));
        let ended = jobs.values().filter_map(ended).collect();
        for id in retain::surplus(ended, now(), &self.limits) {
            match self.store.delete(id) {
                Ok(()) => drop(jobs.remove(&id)),
                Err(error) => tracing::error!(job = %id, %error, "an audit that is too old cannot be removed"),
            }
        }
        count(&jobs, metrics);
        self.sweep(&jobs);
    }

    /// Removes samples that no job refers to.
    fn sweep(&self, jobs: &BTreeMap<JobId, Arc<Job>>) {
        let content = |job: &Arc<Job>| {
            job.look(|status| match &status.record.asked.data {
                DataRef::Uploaded { content, .. } => Some(content.clone()),
                DataRef::Registered { .. } => None,
            })
        };
        self.spool.sweep(&jobs.values().filter_map(content).collect());
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<JobId, Arc<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries the jobs out, as many at once as there are places, from when the models are loaded until the server stops.
pub(crate) async fn serve(core: Arc<Core>) {
    let audits = &core.audits;
    // Who has a folder stops at once and goes on later; anything else would be lost, so it may go on as long as calls may.
    let lifecycle = &core.lifecycle;
    let stop = if audits.is_durable() { lifecycle.draining() } else { lifecycle.cut() };
    tokio::select! {
        () = lifecycle.loaded().cancelled() => {}
        () = lifecycle.draining().cancelled() => return,
    }
    let mut running = JoinSet::new();
    let begin = async {
        loop {
            if !audits.locked().values().any(|job| job.waits()) {
                audits.queued.notified().await;
                continue;
            }
            let permit = core.admission.audit().await;
            let claiming = Arc::clone(&core);
            let claimed = tokio::task::spawn_blocking(move || claiming.audits.next(&claiming.metrics)).await;
            if let Ok(Some((job, cancel))) = claimed {
                running.spawn(carry_out(Arc::clone(&core), job, cancel, permit, stop.clone()));
            }
            while running.try_join_next().is_some() {}
        }
    };
    tokio::select! {
        () = begin => {}
        () = stop.cancelled() => {}
    }
    while running.join_next().await.is_some() {}
}

/// Carries one job out in its place.
async fn carry_out(core: Arc<Core>, job: Arc<Job>, cancel: Cancel, permit: Permit, stop: CancellationToken) {
    // Also where this task is dropped with its runtime, which waits for its threads.
    let _stop = StopOnDrop(cancel.clone());
    let (shared, own, switch) = (Arc::clone(&core), Arc::clone(&job), cancel.clone());
    let mut work = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let work = || work::carry_out(&shared, &shared.audits, &own, &own.status().record, &switch);
        behind(shared.nice(BACKGROUND), work)
    });
    let result = tokio::select! {
        result = &mut work => result,
        () = stop.cancelled() => {
            cancel.cancel();
            work.await
        }
    };
    let result = result.unwrap_or_else(|e| Err(Ended::Failed(format!("the work ended early: {e}"))));
    // It is aborted only where the process ends, and the next one goes on.
    let _ = tokio::task::spawn_blocking(move || core.audits.ended(&job, result, &core.metrics)).await;
}

fn now() -> Moment {
    SystemTime::now().into()
}

fn digest(hosted: &Hosted) -> ModelDigest {
    let (name, version) = (hosted.name.clone(), hosted.version.to_string());
    ModelDigest { name, version, digest: hosted.spec().digest.clone() }
}

/// The job that is meant: the one that has the key; or, where any of the same may be joined, the last that the caller sees and that has not ended well.
fn meant(
    jobs: &BTreeMap<JobId, Arc<Job>>,
    asked: &Asked,
    join: bool,
    caller: &Caller,
) -> Result<Option<Arc<Job>>, CallError> {
    if let Some(job) = keyed(jobs, asked)? {
        return Ok(Some(job));
    }
    let is_meant =
        |record: &Record| !matches!(record.state, State::Done(_) | State::Cancelled) && record.measures(asked);
    let is_meant = |job: &&Arc<Job>| job.is_seen_by(caller) && job.look(|status| is_meant(&status.record));
    Ok(jobs.values().rfind(|job| join && is_meant(job)).cloned())
}

/// The job of this owner that has the key.
fn keyed(jobs: &BTreeMap<JobId, Arc<Job>>, wanted: &Asked) -> Result<Option<Arc<Job>>, CallError> {
    let Some(key) = wanted.key.as_deref() else { return Ok(None) };
    let has = |job: &&Arc<Job>| {
        job.look(|status| {
            let asked = &status.record.asked;
            (asked.key.as_deref(), &asked.owner) == (Some(key), &wanted.owner)
        })
    };
    let Some(job) = jobs.values().find(has).cloned() else { return Ok(None) };
    let same = job.look(|status| {
        let asked = &status.record.asked;
        (&asked.data, asked.shard, &asked.baseline) == (&wanted.data, wanted.shard, &wanted.baseline)
            && asked.plan == with_versions(&wanted.plan, &asked.plan)
    });
    if !same {
        let id = job.id;
        return Err(CallError::Exists(format!(
            "idempotency_key: audit {id} has the key {key:?} and measures something else; use another key, or ask for what it measures"
        )));
    }
    Ok(Some(job))
}

/// `plan`, with the versions of `chosen` for models that name none: what was the newest when that was asked for first.
fn with_versions(plan: &Plan, chosen: &Plan) -> Plan {
    let mut plan = plan.clone();
    for (model, chosen) in plan.models.iter_mut().zip(&chosen.models) {
        if model.version.is_empty() {
            model.version.clone_from(&chosen.version);
        }
    }
    plan
}

/// A job of somebody else is none.
fn find(jobs: &BTreeMap<JobId, Arc<Job>>, id: &str, caller: &Caller) -> Result<Arc<Job>, CallError> {
    if id.is_empty() {
        return Err(CallError::field("job", "missing; give the id of an audit of ListAudits"));
    }
    let found = id.parse().ok().and_then(|id| jobs.get(&JobId(id))).filter(|job| job.is_seen_by(caller)).cloned();
    found.ok_or_else(|| {
        let seen = jobs.values().filter(|job| job.is_seen_by(caller));
        let known: Vec<String> = seen.map(|job| job.id.to_string()).collect();
        CallError::unknown("audit", id, known.iter().map(String::as_str))
    })
}

fn count(jobs: &BTreeMap<JobId, Arc<Job>>, metrics: &Metrics) {
    let states: Vec<&str> = jobs.values().map(|job| job.look(|status| status.record.state.name())).collect();
    let of = |name| states.iter().filter(|state| **state == name).count();
    metrics.audits(&State::NAMES.map(|name| (name, of(name))));
}

fn unstored(error: StoreError) -> CallError {
    match error {
        StoreError::Full { .. } | StoreError::Unwritable { .. } => CallError::Full(error.to_string()),
        other => CallError::Internal(other.to_string()),
    }
}
