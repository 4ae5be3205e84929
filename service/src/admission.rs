//! Admission: work is let in before it is done, and refused, not queued, when there is no place.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{config::Concurrency, status::CallError};

/// The places there are. Each kind of work has its own, so that none starves predictions.
#[derive(Debug)]
pub(crate) struct Admission {
    predictions: Places,
    gradients: Places,
    jobs: Places,
}

/// A place; it is free again when this is dropped.
#[derive(Debug)]
#[must_use = "dropping it frees the place"]
pub(crate) struct Permit {
    _permit: OwnedSemaphorePermit,
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
            predictions: Places::new("Predict", "concurrency.predictions", limits.predictions),
            gradients: Places::new("Gradient", "concurrency.gradients", limits.gradients),
            jobs: Places::new("Attack and Audit", "concurrency.jobs", limits.jobs),
        }
    }

    /// A place for a prediction.
    pub(crate) fn prediction(&self) -> Result<Permit, CallError> {
        self.predictions.take()
    }

    /// A place for a gradient.
    pub(crate) fn gradient(&self) -> Result<Permit, CallError> {
        self.gradients.take()
    }

    /// A place for an attack or an audit.
    pub(crate) fn job(&self) -> Result<Permit, CallError> {
        self.jobs.take()
    }
}

impl Places {
    fn new(what: &'static str, key: &'static str, limit: usize) -> Self {
        Self { what, key, limit, free: Arc::new(Semaphore::new(limit)) }
    }

    fn take(&self) -> Result<Permit, CallError> {
        let permit = Arc::clone(&self.free).try_acquire_owned();
        permit.map(|permit| Permit { _permit: permit }).map_err(|_| CallError::Busy {
            what: self.what,
            limit: self.limit,
            key: self.key,
        })
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
        assert_eq!(refused, "all 1 places for Attack and Audit are taken; try again later, or raise concurrency.jobs");
        let _prediction = admission.prediction().unwrap();
        let _gradient = admission.gradient().unwrap();
        drop(first);
        assert!(admission.job().is_ok());
    }
}
