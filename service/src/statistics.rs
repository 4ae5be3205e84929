//! What each version of a model was asked for, and how long that took: what `ModelStatistics` tells and the `nv_*` metrics are made of.
//!
//! Requests are those for predictions, over either service. Runs are all runs of the version, for gradients, attacks and audits too. A run of several batches counts for
//! each of them, as each waited for it and was in it; [`Statistics::runs`] counts it once.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use assay_runtime::RunTimes;
use tonic::Code;

use crate::status::CallError;

/// The statistics of every version there was.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    versions: RwLock<BTreeMap<(String, u32), Arc<Statistics>>>,
}

impl Ledger {
    /// Those of a version; of one that is new, zeros.
    pub(crate) fn of(&self, model: &str, version: u32) -> Arc<Statistics> {
        let mut versions = self.versions.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(versions.entry((model.to_owned(), version)).or_default())
    }

    /// All of them, by name and version.
    pub(crate) fn all(&self) -> BTreeMap<(String, u32), Arc<Statistics>> {
        self.versions.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The statistics of one version. They only grow.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    /// Requests that were answered, from their arrival in the handler to their answer.
    pub(crate) success: Timed,
    /// Batches that waited for a session.
    pub(crate) queue: Timed,
    /// Inputs that were read, of answered requests.
    pub(crate) input: Timed,
    /// Batches in ONNX Runtime.
    pub(crate) infer: Timed,
    /// Outputs that were written, of answered requests.
    pub(crate) output: Timed,
    /// Batches whose answer was kept.
    pub(crate) cache_hit: Timed,
    /// Batches that were looked for among the kept answers, and were not there.
    pub(crate) cache_miss: Timed,
    failures: [Timed; Failure::ALL.len()],
    runs: AtomicU64,
    samples: AtomicU64,
    last: AtomicU64,
}

/// How often something happened, and how long it took in all.
#[derive(Debug, Default)]
pub(crate) struct Timed {
    count: AtomicU64,
    ns: AtomicU64,
}

/// Why a request failed, as Triton tells reasons apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There was no place for it.
    Rejected,
    /// Its client went away, or its time was over.
    Cancelled,
    /// The model or the server.
    Backend,
    /// The request itself.
    Other,
}

/// What an answered request took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served {
    /// Samples of its batch that were evaluated: none, where the answer was kept.
    pub(crate) samples: usize,
    /// Time that reading its input took.
    pub(crate) input: Duration,
    /// Time that writing its output took.
    pub(crate) output: Duration,
}

impl Statistics {
    /// Counts the request that `work` answers, however it ends.
    pub(crate) async fn request<T>(
        &self,
        work: impl Future<Output = Result<(T, Served), CallError>>,
    ) -> Result<T, CallError> {
        let mut open = Open { statistics: self, began: Instant::now(), failure: Some(Failure::Cancelled) };
        match work.await {
            Ok((answer, served)) => {
                open.failure = None;
                self.success.add(open.began.elapsed());
                self.input.add(served.input);
                self.output.add(served.output);
                self.samples.fetch_add(served.samples as u64, Ordering::Relaxed);
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                self.last.fetch_max(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
                Ok(answer)
            }
            Err(error) => {
                open.failure = Some(Failure::of(&error));
                Err(error)
            }
        }
    }

    /// The version ran once.
    pub(crate) fn ran(&self, times: RunTimes) {
        let batches = times.batches as u64;
        self.queue.add_all(times.waited, batches);
        self.infer.add_all(times.ran, batches);
        self.runs.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it ran.
    pub(crate) fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    /// Requests that failed for this reason.
    pub(crate) fn failed(&self, failure: Failure) -> &Timed {
        &self.failures[failure as usize]
    }

    /// Samples that were predicted.
    pub(crate) fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    /// When the last request was answered, in milliseconds since 1970; 0: none was.
    pub(crate) fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }
}

impl Timed {
    /// It happened, and took so long.
    pub(crate) fn add(&self, time: Duration) {
        self.add_all(time, 1);
    }

    /// It happened to so many, and took each the same time.
    fn add_all(&self, time: Duration, times: u64) {
        self.count.fetch_add(times, Ordering::Relaxed);
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).saturating_mul(times);
        self.ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// How often it happened.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Nanoseconds that it took in all.
    pub(crate) fn ns(&self) -> u64 {
        self.ns.load(Ordering::Relaxed)
    }
}

impl Failure {
    /// Every reason.
    pub(crate) const ALL: [Self; 4] = [Self::Rejected, Self::Cancelled, Self::Backend, Self::Other];

    /// Its name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rejected => "REJECTED",
            Self::Cancelled => "CANCELED",
            Self::Backend => "BACKEND",
            Self::Other => "OTHER",
        }
    }

    fn of(error: &CallError) -> Self {
        match error.code() {
            Code::ResourceExhausted | Code::Unavailable => Self::Rejected,
            Code::Cancelled | Code::DeadlineExceeded => Self::Cancelled,
            Code::Internal | Code::FailedPrecondition => Self::Backend,
            _ => Self::Other,
        }
    }
}

/// A request that has no answer yet. Dropped without one, it is that of a client that went away.
struct Open<'a> {
    statistics: &'a Statistics,
    began: Instant,
    failure: Option<Failure>,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Some(failure) = self.failure {
            self.statistics.failed(failure).add(self.began.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVED: Served = Served { samples: 3, input: Duration::from_micros(2), output: Duration::from_micros(1) };

    #[tokio::test]
    async fn a_request_is_counted_once_however_it_ends() {
        let ledger = Ledger::default();
        let of = ledger.of("net", 1);
        assert_eq!((of.last(), of.samples()), (0, 0));
        of.request(async { Ok(((), SERVED)) }).await.unwrap();
        of.request::<()>(async { Err(CallError::QueueFull(String::new())) }).await.unwrap_err();
        of.request::<()>(async { Err(CallError::field("x", "y")) }).await.unwrap_err();
        of.request::<()>(async { Err(CallError::Internal(String::new())) }).await.unwrap_err();
        let gone = of.request::<()>(std::future::pending());
        tokio::time::timeout(Duration::from_millis(1), gone).await.unwrap_err();
        assert_eq!((of.success.count(), of.samples(), of.input.ns(), of.output.ns()), (1, 3, 2000, 1000));
        assert_eq!(Failure::ALL.map(|failure| of.failed(failure).count()), [1; 4]);
        assert!(of.failed(Failure::Cancelled).ns() >= 1_000_000 && of.last() > 0);
    }

    #[test]
    fn a_version_keeps_its_statistics() {
        let ledger = Ledger::default();
        let (waited, ran) = (Duration::from_nanos(5), Duration::from_nanos(7));
        ledger.of("net", 1).ran(RunTimes { waited, ran, samples: 4, batches: 3 });
        ledger.of("net", 2);
        let all = ledger.all();
        let ns: Vec<_> = all.values().map(|of| (of.queue.ns(), of.infer.ns(), of.infer.count(), of.runs())).collect();
        assert_eq!(ns, [(15, 21, 3, 1), (0, 0, 0, 0)]);
        assert_eq!(ledger.of("net", 1).infer.count(), 3);
    }
}
