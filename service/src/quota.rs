//! What callers may use: allowances that fill up as time passes, and jobs at once.
//!
//! Predictions and gradients are taken from an allowance when their batch is known. A job reserves what it may need at most, and gives back what it did
//! not use when it ends. Allowances belong to names, so that keys of one name share them; they are in memory, and full when the server starts.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    config::Quota,
    metrics::Metrics,
    principals::{Caller, Principal},
    status::CallError,
};

/// What is counted, but for jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Samples of `Predict`.
    Predictions,
    /// Samples of `Gradient`.
    Gradients,
    /// Samples that attacks, surfaces, certificates and audits evaluate.
    Evaluations,
    /// Samples that are nearly what the caller sent before.
    NearDuplicates,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Predictions, Self::Gradients, Self::Evaluations, Self::NearDuplicates];

    /// The key of its quota, which is its name in metrics too.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Predictions => "predictions_per_minute",
            Self::Gradients => "gradients_per_minute",
            Self::Evaluations => "evaluations_per_day",
            Self::NearDuplicates => "near_duplicates_per_minute",
        }
    }

    /// The time in which an empty allowance is full again.
    fn period(self) -> Duration {
        match self {
            Self::Predictions | Self::Gradients | Self::NearDuplicates => Duration::from_secs(60),
            Self::Evaluations => Duration::from_secs(86_400),
        }
    }

    /// What a quota allows of it; `None`: any number.
    fn of(self, quota: &Quota) -> Option<u64> {
        match self {
            Self::Predictions => quota.predictions_per_minute,
            Self::Gradients => quota.gradients_per_minute,
            Self::Evaluations => quota.evaluations_per_day,
            Self::NearDuplicates => quota.near_duplicates_per_minute,
        }
    }
}

/// Name of the quota of jobs.
pub(crate) const JOBS: &str = "jobs";

/// Names of all quotas, as in metrics.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    Kind::ALL.into_iter().map(Kind::key).chain([JOBS])
}

/// What everybody has used.
#[derive(Debug)]
pub(crate) struct Quotas {
    used: Mutex<HashMap<String, Used>>,
    metrics: Metrics,
}

/// What somebody has used.
#[derive(Debug, Default)]
struct Used {
    allowances: [Allowance; Kind::ALL.len()],
    /// Jobs that wait or run.
    jobs: u64,
}

/// What is missing from an allowance, at a time.
#[derive(Clone, Copy, Debug, Default)]
struct Allowance {
    /// Below 0 never; more than there is, where a job used more than it had reserved.
    missing: f64,
    at: Option<Instant>,
}

/// Why an allowance does not have as many.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Short {
    /// It will, after so long.
    Until(Duration),
    /// It never has.
    Always,
}

#[allow(clippy::cast_precision_loss, reason = "quotas are at most 2^53")]
impl Allowance {
    /// Takes `n` of an allowance of `most` that fills up in `period`.
    fn take(&mut self, n: u64, most: u64, period: Duration, now: Instant) -> Result<(), Short> {
        let pace = most as f64 / period.as_secs_f64();
        let passed = self.at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        (self.missing, self.at) = ((self.missing - passed * pace).max(0.0), Some(now));
        let over = self.missing + n as f64 - most as f64;
        match over {
            _ if n > most => Err(Short::Always),
            over if over > 0.0 => Err(Short::Until(Duration::from_secs_f64(over / pace))),
            _ => {
                self.missing += n as f64;
                Ok(())
            }
        }
    }

    /// `reserved` had been taken, and `spent` were used.
    fn settle(&mut self, reserved: u64, spent: u64) {
        self.missing = (self.missing - reserved as f64 + spent as f64).max(0.0);
    }
}

impl Quotas {
    /// Nobody has used anything.
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { used: Mutex::default(), metrics }
    }

    /// Lets a batch of so many samples in.
    ///
    /// # Errors
    /// It is more than the caller has left.
    pub(crate) fn let_in(&self, caller: &Caller, kind: Kind, samples: usize) -> Result<(), CallError> {
        let Some(principal) = caller.principal() else { return Ok(()) };
        self.take(principal, kind, samples as u64, Instant::now())?;
        if kind.of(principal.quota()).is_some() {
            self.metrics.quota_used(principal.name(), kind.key(), samples as u64);
        }
        Ok(())
    }

    /// Lets a job in that needs at most so many evaluations. It counts as one of the caller's until what this gives is dropped.
    ///
    /// # Errors
    /// The caller has as many jobs as he may have, or fewer evaluations left.
    pub(crate) fn reserve(self: &Arc<Self>, caller: &Caller, evaluations: u64) -> Result<Reservation, CallError> {
        let Some(principal) = caller.principal() else { return Ok(Reservation::default()) };
        let name = principal.name();
        let holder = self.begin(name, principal.quota().jobs)?;
        let limited = Kind::Evaluations.of(principal.quota()).is_some();
        // Where this fails the job is none, and dropped.
        let mut reservation = Reservation { holder: Some(holder), reserved: 0, limited, spent: Arc::default() };
        self.take(principal, Kind::Evaluations, evaluations, Instant::now())?;
        reservation.reserved = evaluations;
        Ok(reservation)
    }

    /// Counts a job that a server had let in before it was started again.
    pub(crate) fn resume(self: &Arc<Self>, owner: &str) -> Reservation {
        let holder = self.begin(owner, None).ok();
        Reservation { holder, reserved: 0, limited: false, spent: Arc::default() }
    }

    fn begin(self: &Arc<Self>, name: &str, most: Option<u64>) -> Result<Holder, CallError> {
        let mut all = self.used();
        let used = all.entry(name.to_owned()).or_default();
        if let Some(limit) = most.filter(|most| used.jobs >= *most) {
            self.metrics.quota_refused(name, JOBS);
            return Err(CallError::Jobs { name: name.to_owned(), limit });
        }
        used.jobs += 1;
        if most.is_some() {
            self.metrics.quota_used(name, JOBS, 1);
        }
        Ok(Holder { quotas: Arc::clone(self), name: name.to_owned() })
    }

    fn take(&self, principal: &Principal, kind: Kind, n: u64, now: Instant) -> Result<(), CallError> {
        let Some(limit) = kind.of(principal.quota()) else { return Ok(()) };
        let name = principal.name();
        let mut all = self.used();
        let used = all.entry(name.to_owned()).or_default();
        used.allowances[kind as usize].take(n, limit, kind.period(), now).map_err(|short| {
            self.metrics.quota_refused(name, kind.key());
            let wait = match short {
                Short::Until(wait) => Some(wait),
                Short::Always => None,
            };
            CallError::Quota { name: name.to_owned(), key: kind.key(), asked: n, limit, wait }
        })
    }

    fn used(&self) -> MutexGuard<'_, HashMap<String, Used>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job that was let in. Dropped, it is none any more, and what it did not use is given back.
#[derive(Debug, Default)]
#[must_use = "dropping it ends the job for its quota"]
pub(crate) struct Reservation {
    holder: Option<Holder>,
    reserved: u64,
    /// Whether evaluations are counted at all.
    limited: bool,
    spent: Arc<AtomicU64>,
}

/// Counts as one job of somebody.
#[derive(Debug)]
struct Holder {
    quotas: Arc<Quotas>,
    name: String,
}

impl Reservation {
    /// Where the samples that the job evaluates are counted.
    pub(crate) fn meter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.spent)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Some(Holder { quotas, name }) = &self.holder else { return };
        let spent = self.spent.load(Ordering::Relaxed);
        let mut all = quotas.used();
        let Some(used) = all.get_mut(name) else { return };
        used.jobs = used.jobs.saturating_sub(1);
        if self.limited {
            used.allowances[Kind::Evaluations as usize].settle(self.reserved, spent);
            quotas.metrics.quota_used(name, Kind::Evaluations.key(), spent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principals::tests::caller;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn an_allowance_is_full_at_first_and_fills_up_evenly() {
        let (mut allowance, start) = (Allowance::default(), Instant::now());
        let mut take = |n, seconds: f64| allowance.take(n, 60, MINUTE, start + Duration::from_secs_f64(seconds));
        assert_eq!(take(61, 0.0), Err(Short::Always));
        assert_eq!((take(40, 0.0), take(20, 0.0)), (Ok(()), Ok(())));
        assert_eq!(take(1, 0.0), Err(Short::Until(Duration::from_secs(1))));
        assert_eq!(take(3, 2.0), Err(Short::Until(Duration::from_secs(1))));
        assert_eq!((take(3, 3.0), take(1, 3.0)), (Ok(()), Err(Short::Until(Duration::from_secs(1)))));
        // However long nobody takes, it is never more than full.
        assert_eq!((take(60, 1e6), take(1, 1e6)), (Ok(()), Err(Short::Until(Duration::from_secs(1)))));
    }

    #[test]
    fn what_a_job_did_not_use_is_given_back_and_what_it_used_beyond_is_missing() {
        let (mut allowance, now) = (Allowance::default(), Instant::now());
        let mut take = |n| allowance.take(n, 100, MINUTE, now);
        assert_eq!(take(80), Ok(()));
        assert!(take(21).is_err());
        allowance.settle(80, 10);
        assert_eq!(allowance.take(90, 100, MINUTE, now), Ok(()));
        allowance.settle(90, 150);
        assert!(matches!(allowance.take(1, 100, MINUTE, now), Err(Short::Until(wait)) if wait > MINUTE / 3));
    }

    #[test]
    fn a_job_holds_its_place_and_its_evaluations_until_it_ends() {
        let quotas = Arc::new(Quotas::new(Metrics::new().unwrap()));
        let quota = Quota { jobs: Some(2), evaluations_per_day: Some(100), ..Quota::default() };
        let (ci, other) = (caller("ci", quota), caller("other", Quota::default()));
        let first = quotas.reserve(&ci, 60).unwrap();
        let refused = quotas.reserve(&ci, 41).unwrap_err();
        assert!(matches!(refused, CallError::Quota { limit: 100, wait: Some(_), .. }), "{refused}");
        let second = quotas.reserve(&ci, 40).unwrap();
        assert_eq!(quotas.reserve(&ci, 0).unwrap_err(), CallError::Jobs { name: "ci".to_owned(), limit: 2 });
        let _others: Vec<_> = (0..9).map(|_| quotas.reserve(&other, u64::MAX).unwrap()).collect();
        first.meter().store(10, Ordering::Relaxed);
        drop(first);
        assert!(matches!(quotas.reserve(&ci, 51).unwrap_err(), CallError::Quota { .. }));
        let third = quotas.reserve(&ci, 50).unwrap();
        drop((second, third));
        assert_eq!(quotas.used()["ci"].jobs, 0);
        assert!(quotas.reserve(&ci, 90).is_ok());
    }

    #[test]
    fn where_nobody_is_asked_nothing_is_counted() {
        let quotas = Arc::new(Quotas::new(Metrics::new().unwrap()));
        let nobody = Caller::default();
        quotas.let_in(&nobody, Kind::Predictions, usize::MAX).unwrap();
        drop(quotas.reserve(&nobody, u64::MAX).unwrap());
        assert!(quotas.used().is_empty());
    }
}
