//! Admission: work is let in before it is done, and refused, not queued, when there is no place. Only audits wait for one ([`Admission::job_when_free`]):
//! they are jobs that nobody has to wait for.
//!
//! Training has no place: it waits between two steps while any is taken ([`Admission::give_way`]).

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
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
    traffic: Arc<Traffic>,
}

/// How often who gives way looks whether it is to stop.
const GLANCE: Duration = Duration::from_millis(100);

/// Places of any kind that are taken.
#[derive(Debug, Default)]
struct Traffic {
    taken: Mutex<usize>,
    idle: Condvar,
}

/// A place; it is free again when this is dropped.
#[derive(Debug)]
#[must_use = "dropping it frees the place"]
pub(crate) struct Permit {
    _permit: OwnedSemaphorePermit,
    traffic: Arc<Traffic>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut taken = self.traffic.taken();
        *taken = taken.saturating_sub(1);
        if *taken == 0 {
            self.traffic.idle.notify_all();
        }
    }
}

impl Traffic {
    fn taken(&self) -> MutexGuard<'_, usize> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Places {
    what: &'static str,
    key: &'static str,
    limit: usize,
    free: Arc<Semaphore>,
    traffic: Arc<Traffic>,
}

impl Admission {
    /// As many places as configured.
    pub(crate) fn new(limits: &Concurrency) -> Self {
        let traffic = Arc::default();
        Self {
            predictions: Places::new("samples of Predict", "concurrency.predictions", limits.predictions, &traffic),
            gradients: Places::new("Gradient", "concurrency.gradients", limits.gradients, &traffic),
            jobs: Places::new("Attack and Audit", "concurrency.jobs", limits.jobs, &traffic),
            traffic,
        }
    }

    /// Whether no place is taken.
    pub(crate) fn is_idle(&self) -> bool {
        *self.traffic.taken() == 0
    }

    /// Waits until no place is taken, or `stop` is thrown. Blocks.
    pub(crate) fn give_way(&self, stop: &Cancel) {
        let mut taken = self.traffic.taken();
        while *taken > 0 && !stop.is_cancelled() {
            let waited = self.traffic.idle.wait_timeout(taken, GLANCE);
            taken = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Places for the `samples` of a prediction. A batch of more than there are places has all of them.
    pub(crate) fn prediction(&self, samples: usize) -> Result<Permit, CallError> {
        self.predictions.take(samples)
    }

    /// A place for a gradient.
    pub(crate) fn gradient(&self) -> Result<Permit, CallError> {
        self.gradients.take(1)
    }

    /// A place for an attack.
    pub(crate) fn job(&self) -> Result<Permit, CallError> {
        self.jobs.take(1)
    }

    /// A place for an audit, as soon as one is free. Who waits is served before who asks for one at once.
    pub(crate) async fn job_when_free(&self) -> Permit {
        self.jobs.wait().await
    }
}

impl Places {
    fn new(what: &'static str, key: &'static str, limit: usize, traffic: &Arc<Traffic>) -> Self {
        Self { what, key, limit, free: Arc::new(Semaphore::new(limit)), traffic: Arc::clone(traffic) }
    }

    fn take(&self, places: usize) -> Result<Permit, CallError> {
        let places = u32::try_from(places.clamp(1, self.limit)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.free).try_acquire_many_owned(places);
        let permit = permit.map_err(|_| CallError::Busy { what: self.what, limit: self.limit, key: self.key })?;
        Ok(self.permit(permit))
    }

    async fn wait(&self) -> Permit {
        match Arc::clone(&self.free).acquire_owned().await {
            Ok(permit) => self.permit(permit),
            // The places are never closed.
            Err(_) => std::future::pending().await,
        }
    }

    fn permit(&self, permit: OwnedSemaphorePermit) -> Permit {
        *self.traffic.taken() += 1;
        Permit { _permit: permit, traffic: Arc::clone(&self.traffic) }
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
        let mut waiting = std::pin::pin!(admission.job_when_free());
        assert!(tokio::time::timeout(Duration::ZERO, &mut waiting).await.is_err());
        drop(first);
        assert!(admission.job().is_err(), "the place is promised");
        drop(waiting.await);
        assert!(admission.job().is_ok() && admission.is_idle());
    }

    #[test]
    fn who_gives_way_waits_until_every_place_is_free_or_it_is_to_stop() {
        let admission = Admission::new(&Concurrency { predictions: 2, gradients: 1, jobs: 1 });
        admission.give_way(&Cancel::default());
        let (prediction, job) = (admission.prediction(1).unwrap(), admission.job().unwrap());
        let (stop, passed) = (Cancel::default(), std::sync::atomic::AtomicBool::new(false));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                admission.give_way(&Cancel::default());
                assert!(admission.is_idle());
                passed.store(true, std::sync::atomic::Ordering::SeqCst);
            });
            drop(prediction);
            let stopped = scope.spawn(|| admission.give_way(&stop));
            stop.cancel();
            stopped.join().unwrap();
            assert!(!passed.load(std::sync::atomic::Ordering::SeqCst) && !admission.is_idle(), "a place is taken");
            drop(job);
            waiting.join().unwrap();
        });
    }
}
