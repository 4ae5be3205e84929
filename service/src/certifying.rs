//! A hosted model whose samples are certified: with limits of time, and counted.
//!
//! Sessions of graphs of bounds live in a [`Certifier`], which one job uses at a time. A version keeps one of them for the next job ([`Certifiers`]), of one
//! norm, so that what it keeps is bounded; it goes with the version.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use assay_attack::{Cancel, Cost, Norm};
use assay_audit::Certifies;
use assay_certify::{
    Answer, Certificate, Certifier, CertifierOptions, CertifyError, Deciding, Job, Method, Neighbourhood, Progress,
    Property,
};
use assay_runtime::{EngineOptions, OnnxRuntime, RunError};

use crate::{
    core::{Core, at_least_one},
    metrics::Metrics,
    repository::Hosted,
    status::CallError,
};

/// How often it is looked whether work is to stop.
const GLANCE: Duration = Duration::from_millis(20);

/// What a model version keeps for who certifies its samples.
#[derive(Debug, Default)]
pub(crate) struct Certifiers {
    idle: Mutex<Option<(Norm, Certifier)>>,
}

impl Certifiers {
    /// The one that waits, if it is for this norm. One for another is given back before new sessions are opened.
    fn take(&self, norm: Norm) -> Option<Certifier> {
        let waiting = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        waiting.filter(|(of, _)| *of == norm).map(|(_, certifier)| certifier)
    }

    fn put(&self, norm: Norm, certifier: Certifier) {
        let before = self.idle.lock().unwrap_or_else(PoisonError::into_inner).replace((norm, certifier));
        // Sessions are given back outside of the lock.
        drop(before);
    }
}

/// A hosted model whose samples are certified.
pub(crate) struct Certifying {
    pub(crate) hosted: Arc<Hosted>,
    runtime: OnnxRuntime,
    options: CertifierOptions,
    metrics: Metrics,
    /// What asks.
    rpc: &'static str,
    /// Where evaluations are counted for whoever has to have them.
    spent: Arc<AtomicU64>,
}

/// Evaluations that certifying so many samples counts for, at most: one for the prediction of each, and one for each method that is asked about it.
pub(crate) fn evaluations(samples: usize, methods: &[Method]) -> u64 {
    (samples as u64).saturating_mul(1 + methods.len() as u64)
}

/// Evaluations that answering a property counts for: all attacks on an input of each box, and every bound of each case. It is a number that can be told before.
pub(crate) fn decisions(property: &Property) -> u64 {
    let costs = Deciding::default().attacks.into_iter().map(|attack| attack.worst_case());
    let each = costs.map(|Cost { queries, gradients }| queries.saturating_add(gradients)).fold(0, u64::saturating_add);
    let boxes: HashSet<_> = property.cases.iter().map(|case| Arc::as_ptr(&case.region)).collect();
    each.saturating_mul(boxes.len() as u64).saturating_add(evaluations(property.cases.len(), &Method::ALL))
}

impl Certifying {
    /// `hosted`, with sessions like its own.
    pub(crate) fn new(core: &Core, hosted: Arc<Hosted>, rpc: &'static str, spent: Arc<AtomicU64>) -> Self {
        let runtime = &core.config.runtime;
        let engine = EngineOptions {
            // Where it runs, which is another place than it was asked for where there is a fallback.
            provider: hosted.spec().provider.parse().unwrap_or_default(),
            sessions: at_least_one(runtime.sessions),
            intra_threads: runtime.threads.and_then(std::num::NonZeroUsize::new),
            ..core.engine()
        };
        let (runtime, metrics) = (core.runtime.clone(), core.metrics.clone());
        Self { hosted, runtime, options: CertifierOptions { engine }, metrics, rpc, spent }
    }

    /// Certifies samples, until `cancel` is thrown or it is `until`. Blocks.
    ///
    /// # Errors
    /// As [`Certifier::certify`]; `RunError::Cancelled` is in time what `until` ended.
    pub(crate) fn work(
        &self,
        job: &Job<'_>,
        until: Option<Instant>,
        observer: &mut dyn FnMut(Progress),
        cancel: &Cancel,
    ) -> Result<Vec<Certificate>, CertifyError> {
        let started = Instant::now();
        let norm = match job.neighbourhood {
            Neighbourhood::Threat(threat) => threat.norm,
            Neighbourhood::Boxes { .. } => Norm::Linf,
        };
        let certified = self
            .watched(until, cancel, |cancel| self.with(norm, |certifier| certifier.certify(job, observer, cancel)))?;
        self.spent.fetch_add(evaluations(certified.len(), job.methods), Ordering::Relaxed);
        self.metrics.certified(self.rpc, &self.hosted.name, &certified);
        self.metrics.certifying_took(self.rpc, &self.hosted.name, started.elapsed());
        Ok(certified)
    }

    /// Answers a property within `time`. Blocks.
    ///
    /// # Errors
    /// As [`Certifier::decide`].
    pub(crate) fn decide(
        &self,
        property: &Property,
        time: Duration,
        seed: u64,
        cancel: &Cancel,
    ) -> Result<Answer, CertifyError> {
        let started = Instant::now();
        // A time that no clock can tell is none.
        let deadline = started.checked_add(time);
        let deciding = Deciding { deadline, seed, ..Deciding::default() };
        let decided = self.watched(deadline, cancel, |cancel| {
            self.with(Norm::Linf, |certifier| certifier.decide(property, &deciding, cancel))
        });
        self.spent.fetch_add(decisions(property), Ordering::Relaxed);
        self.metrics.certifying_took(self.rpc, &self.hosted.name, started.elapsed());
        match decided {
            // In the middle of a run, too.
            Err(CertifyError::Run(RunError::Cancelled)) if !cancel.is_cancelled() => {
                Ok(Answer::Unknown("the time was over".to_owned()))
            }
            decided => decided,
        }
    }

    /// Samples that were not finished in time.
    pub(crate) fn left(&self, samples: usize) {
        self.metrics.not_certified_in_time(self.rpc, &self.hosted.name, samples);
    }

    /// Does `work` with the version's certifier for `norm`, or with a new one that it keeps then.
    fn with<T>(
        &self,
        norm: Norm,
        work: impl FnOnce(&mut Certifier) -> Result<T, CertifyError>,
    ) -> Result<T, CertifyError> {
        let mut certifier = match self.hosted.certifiers().take(norm) {
            Some(certifier) => certifier,
            None => Certifier::new(&self.runtime, Arc::clone(self.hosted.onnx()), &self.options)?,
        };
        let done = work(&mut certifier);
        self.hosted.certifiers().put(norm, certifier);
        match done {
            Err(CertifyError::Run(RunError::Cancelled)) if self.hosted.is_closed() => Err(RunError::Unloaded.into()),
            done => done,
        }
    }

    /// Does `work` with a switch that is thrown with `cancel`, when it is `until`, and when the model was taken out of service.
    fn watched<T>(&self, until: Option<Instant>, cancel: &Cancel, work: impl FnOnce(&Cancel) -> T) -> T {
        let part = cancel.child();
        let (ended, ends) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let (watch, hosted) = (part.clone(), &self.hosted);
            scope.spawn(move || {
                while ends.recv_timeout(GLANCE) == Err(RecvTimeoutError::Timeout) {
                    if hosted.is_closed() || until.is_some_and(|until| Instant::now() >= until) {
                        watch.cancel();
                        return;
                    }
                }
            });
            let done = work(&part);
            drop(ended);
            done
        })
    }
}

impl Certifies for Certifying {
    fn supports(&self, methods: &[Method]) -> Result<(), String> {
        assay_certify::supported(self.hosted.onnx().model(), methods).map_err(|error| error.to_string())
    }

    fn certify(
        &self,
        job: &Job<'_>,
        observer: &mut dyn FnMut(Progress),
        cancel: &Cancel,
    ) -> Result<Vec<Certificate>, CertifyError> {
        self.work(job, None, observer, cancel)
    }
}

/// Whether `methods` have rules for all of a model. Blocks for as long as deriving its bounds takes.
///
/// # Errors
/// The node and the operator that stand in the way.
pub(crate) fn supported(hosted: &Hosted, methods: &[Method]) -> Result<(), CallError> {
    assay_certify::supported(hosted.onnx().model(), methods).map_err(|error| no_bounds(hosted, &error.to_string()))
}

/// The model has no bounds; `reason` names the operator and the node.
fn no_bounds(hosted: &Hosted, reason: &str) -> CallError {
    let Hosted { name, version, .. } = hosted;
    CallError::NoBounds(format!(
        "model `{name}`, version {version}, has no bounds, which certificates need: {reason}; docs/certification.md lists the operators that have them"
    ))
}

/// Why samples were not certified.
pub(crate) fn refused(hosted: &Hosted, error: CertifyError) -> CallError {
    match error {
        CertifyError::Unsupported(error) => no_bounds(hosted, &error.to_string()),
        CertifyError::Invalid(problem) => CallError::field("input", problem),
        CertifyError::Run(error) => error.into(),
        other => CallError::Internal(other.to_string()),
    }
}
