//! Admission: work is let in before it is done, and refused, not queued, when there is no place. Only audits wait for one ([`Admission::audit`]): they are jobs
//! that nobody has to wait for.
//!
//! What goes first is [`Rank`]. Predictions have sessions and places of their own, and all else computes at a higher niceness. Who is of a lower rank than an
//! attack waits between two of its steps while others are at work ([`Admission::give_way`]), for a while each time, so that nothing starves.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use assay_attack::Cancel;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{config::Concurrency, status::CallError};

/// The places there are. Each kind of work has its own, so that none starves predictions.
#[derive(Debug)]
pub(crate) struct Admission {
    predictions: Places,
    gradients: Places,
    jobs: Places,
    /// Of the places for jobs, those that audits may take: all but one, which is for attacks.
    audits: Arc<Semaphore>,
    traffic: Arc<Traffic>,
}

/// What goes before what, the first first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    Prediction,
    /// Attacks, gradients, and what else somebody waits for.
    Attack,
    Audit,
    Training,
}

impl Rank {
    /// To what it gives way. Audits need not to predictions, which have the processors first anyway.
    fn gives_way_to(self) -> &'static [Self] {
        match self {
            Self::Prediction | Self::Attack => &[],
            Self::Audit => &[Self::Attack],
            Self::Training => &[Self::Prediction, Self::Attack, Self::Audit],
        }
    }

    /// How long it waits at most before it makes another step: a second before an evaluation of an audit, ten before a step of training, which takes longer.
    pub(crate) fn patience(self) -> Duration {
        match self {
            Self::Prediction | Self::Attack => Duration::ZERO,
            Self::Audit => Duration::from_secs(1),
            Self::Training => Duration::from_secs(10),
        }
    }
}

/// How often who gives way looks whether it is to stop.
const GLANCE: Duration = Duration::from_millis(100);

/// How many places of each rank are taken.
type Taken = [usize; 4];

#[derive(Debug, Default)]
struct Traffic {
    taken: Mutex<Taken>,
    /// Told when no place of a rank is taken any more.
    idle: Condvar,
}

/// A place; it is free again when this is dropped.
#[derive(Debug)]
#[must_use = "dropping it frees the place"]
pub(crate) struct Permit {
    _permit: OwnedSemaphorePermit,
    /// An audit's among those for audits.
    _among: Option<OwnedSemaphorePermit>,
    rank: Rank,
    traffic: Arc<Traffic>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut taken = self.traffic.taken();
        let of_rank = &mut taken[self.rank as usize];
        *of_rank = of_rank.saturating_sub(1);
        if *of_rank == 0 {
            self.traffic.idle.notify_all();
        }
    }
}

impl Traffic {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn permit(
        self: &Arc<Self>,
        rank: Rank,
        permit: OwnedSemaphorePermit,
        among: Option<OwnedSemaphorePermit>,
    ) -> Permit {
        self.taken()[rank as usize] += 1;
        Permit { _permit: permit, _among: among, rank, traffic: Arc::clone(self) }
    }
}

#[derive(Debug)]
struct Places {
    what: &'static str,
    key: &'static str,
    limit: usize,
    free: Arc<Semaphore>,
}

impl Admission {
    /// As many places as configured.
    pub(crate) fn new(limits: &Concurrency) -> Self {
        Self {
            predictions: Places::new("samples of Predict", "concurrency.predictions", limits.predictions),
            gradients: Places::new("Gradient", "concurrency.gradients", limits.gradients),
            jobs: Places::new("Attack and Audit", "concurrency.jobs", limits.jobs),
            audits: Arc::new(Semaphore::new(limits.jobs.saturating_sub(1).max(1))),
            traffic: Arc::default(),
        }
    }

    /// Whether nothing is at work that who is of this rank gives way to.
    pub(crate) fn is_clear(&self, rank: Rank) -> bool {
        is_clear(&self.traffic.taken(), rank)
    }

    /// Waits until nothing is at work that who is of this rank gives way to, `stop` is thrown, or its [`Rank::patience`] ends. Blocks.
    pub(crate) fn give_way(&self, rank: Rank, stop: &Cancel) {
        let until = Instant::now() + rank.patience();
        let mut taken = self.traffic.taken();
        while !is_clear(&taken, rank) && !stop.is_cancelled() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.traffic.idle.wait_timeout(taken, left.min(GLANCE));
            taken = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Places for the `samples` of a prediction. A batch of more than there are places has all of them.
    pub(crate) fn prediction(&self, samples: usize) -> Result<Permit, CallError> {
        Ok(self.traffic.permit(Rank::Prediction, self.predictions.take(samples)?, None))
    }

    /// A place for a gradient.
    pub(crate) fn gradient(&self) -> Result<Permit, CallError> {
        Ok(self.traffic.permit(Rank::Attack, self.gradients.take(1)?, None))
    }

    /// A place for an attack.
    pub(crate) fn job(&self) -> Result<Permit, CallError> {
        Ok(self.traffic.permit(Rank::Attack, self.jobs.take(1)?, None))
    }

    /// A place for an audit, as soon as one is free. Who waits is served before an attack that comes later, and audits leave one place to attacks if there are two.
    pub(crate) async fn audit(&self) -> Permit {
        let among = wait(&self.audits).await;
        self.traffic.permit(Rank::Audit, wait(&self.jobs.free).await, Some(among))
    }
}

fn is_clear(taken: &Taken, rank: Rank) -> bool {
    rank.gives_way_to().iter().all(|&other| taken[other as usize] == 0)
}

impl Places {
    fn new(what: &'static str, key: &'static str, limit: usize) -> Self {
        Self { what, key, limit, free: Arc::new(Semaphore::new(limit)) }
    }

    fn take(&self, places: usize) -> Result<OwnedSemaphorePermit, CallError> {
        let places = u32::try_from(places.clamp(1, self.limit)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.free).try_acquire_many_owned(places);
        permit.map_err(|_| CallError::Busy { what: self.what, limit: self.limit, key: self.key })
    }
}

async fn wait(free: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    match Arc::clone(free).acquire_owned().await {
        Ok(permit) => permit,
        // They are never closed.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_permit_is_dropped() {
        let admission = Admission::new(&Concurrency { predictions: 1, gradients: 1, jobs: 1 });
        let first = admission.job().unwrap();
        let refused = admission.job().unwrap_err().to_string();
        assert_eq!(refused, "the 1 places for Attack and Audit are taken; try again later, or raise concurrency.jobs");
        let _prediction = admission.prediction(1).unwrap();
        let _gradient = admission.gradient().unwrap();
        drop(first);
        assert!(admission.job().is_ok());
    }

    #[test]
    fn a_prediction_has_a_place_for_each_sample_and_a_batch_that_is_too_large_all_of_them() {
        let admission = Admission::new(&Concurrency { predictions: 4, gradients: 1, jobs: 1 });
        let large = admission.prediction(9).unwrap();
        let refused = admission.prediction(1).unwrap_err().to_string();
        assert!(refused.starts_with("the 4 places for samples of Predict are taken"), "{refused}");
        drop(large);
        let _three = admission.prediction(3).unwrap();
        assert!(admission.prediction(2).is_err() && admission.prediction(1).is_ok());
    }

    #[tokio::test]
    async fn who_waits_is_served_before_who_asks_at_once() {
        let admission = Admission::new(&Concurrency { predictions: 1, gradients: 1, jobs: 1 });
        let first = admission.job().unwrap();
        let mut waiting = std::pin::pin!(admission.audit());
        assert!(tokio::time::timeout(Duration::ZERO, &mut waiting).await.is_err());
        drop(first);
        assert!(admission.job().is_err(), "the place is promised");
        drop(waiting.await);
        assert!(admission.job().is_ok() && admission.is_clear(Rank::Training));
    }

    #[tokio::test]
    async fn audits_leave_one_place_to_attacks() {
        let admission = Admission::new(&Concurrency { predictions: 1, gradients: 1, jobs: 3 });
        let (_first, second) = (admission.audit().await, admission.audit().await);
        let mut third = std::pin::pin!(admission.audit());
        assert!(tokio::time::timeout(Duration::ZERO, &mut third).await.is_err());
        let attack = admission.job().unwrap();
        assert!(admission.job().is_err());
        drop(second);
        let _third = third.await;
        drop(attack);
        assert!(admission.job().is_ok());
    }

    #[tokio::test]
    async fn an_audit_gives_way_to_attacks_and_gradients_and_not_for_ever() {
        let admission = Admission::new(&Concurrency { predictions: 1, gradients: 1, jobs: 2 });
        let waited = || {
            let start = Instant::now();
            admission.give_way(Rank::Audit, &Cancel::default());
            start.elapsed()
        };
        let _audit = admission.audit().await;
        let _prediction = admission.prediction(1).unwrap();
        assert!(admission.is_clear(Rank::Audit) && !admission.is_clear(Rank::Training));
        assert!(waited() < Rank::Audit.patience() / 2);
        for attack in [admission.job().unwrap(), admission.gradient().unwrap()] {
            assert!(!admission.is_clear(Rank::Audit));
            assert!(waited() >= Rank::Audit.patience());
            drop(attack);
        }
    }

    #[test]
    fn who_gives_way_waits_until_every_place_is_free_or_it_is_to_stop() {
        let admission = Admission::new(&Concurrency { predictions: 2, gradients: 1, jobs: 1 });
        admission.give_way(Rank::Training, &Cancel::default());
        let (prediction, job) = (admission.prediction(1).unwrap(), admission.job().unwrap());
        let (stop, passed) = (Cancel::default(), std::sync::atomic::AtomicBool::new(false));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                admission.give_way(Rank::Training, &Cancel::default());
                assert!(admission.is_clear(Rank::Training));
                passed.store(true, std::sync::atomic::Ordering::SeqCst);
            });
            drop(prediction);
            let stopped = scope.spawn(|| admission.give_way(Rank::Training, &stop));
            stop.cancel();
            stopped.join().unwrap();
            assert!(!passed.load(std::sync::atomic::Ordering::SeqCst), "a place is taken");
            assert!(!admission.is_clear(Rank::Training));
            drop(job);
            waiting.join().unwrap();
        });
    }
}
