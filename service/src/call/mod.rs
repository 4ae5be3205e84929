//! One call: its deadline, why it is to stop, and what is recorded of it.
//!
//! [`CallLayer`] wraps the service: it makes a [`Call`] for each request, hands it to the handler in the request's extensions,
//! lets in who may call, enforces the deadline, and writes one log line and one set of metrics when the call ends, however it ends.

mod layer;
mod record;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Request;

pub(crate) use layer::CallLayer;
pub use record::CALLS;

use crate::{
    lifecycle::Lifecycle,
    metrics,
    principals::{Caller, Principal},
    status::CallError,
};

/// A call that is running.
#[derive(Debug)]
pub(crate) struct Call {
    rpc: &'static str,
    started: Instant,
    budget: Duration,
    lifecycle: Arc<Lifecycle>,
    stop: CancellationToken,
    facts: Mutex<Facts>,
}

/// What is found out about a call.
#[derive(Clone, Debug)]
struct Facts {
    principal: Option<Arc<Principal>>,
    model: String,
    samples: Option<usize>,
}

impl Call {
    fn new(rpc: &'static str, budget: Duration, lifecycle: &Arc<Lifecycle>) -> Self {
        let about_model = metrics::RPCS.iter().any(|(name, about_model)| *name == rpc && *about_model);
        let model = if about_model { metrics::UNKNOWN } else { metrics::NO_MODEL };
        Self {
            rpc,
            started: Instant::now(),
            budget,
            stop: lifecycle.cut().child_token(),
            lifecycle: Arc::clone(lifecycle),
            facts: Mutex::new(Facts { principal: None, model: model.to_owned(), samples: None }),
        }
    }

    /// The call of a request.
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Arc<Self>, CallError> {
        request
            .extensions()
            .get::<Arc<Self>>()
            .cloned()
            .ok_or_else(|| CallError::Internal("a request reached its handler without a call".to_owned()))
    }

    /// Who the call is of.
    fn made_by(&self, principal: Arc<Principal>) {
        self.facts().principal = Some(principal);
    }

    /// Who calls.
    pub(crate) fn caller(&self) -> Caller {
        Caller::new(self.facts().principal.clone())
    }

    /// The call is about this model of the repository.
    pub(crate) fn about(&self, model: &str) {
        model.clone_into(&mut self.facts().model);
    }

    /// The call has a batch of so many samples.
    pub(crate) fn samples(&self, samples: usize) {
        self.facts().samples = Some(samples);
    }

    /// Time that the call has.
    pub(crate) fn budget(&self) -> Duration {
        self.budget
    }

    /// When the work must have ended.
    pub(crate) fn deadline(&self) -> Instant {
        self.started + self.budget
    }

    /// Cancelled when the work is to stop: the client went away, the deadline passed, or the server is cut off.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Why the work was stopped.
    pub(crate) fn why_stopped(&self) -> CallError {
        if self.lifecycle.cut().is_cancelled() {
            CallError::Draining
        } else if Instant::now() >= self.deadline() {
            CallError::Deadline(self.budget)
        } else {
            CallError::Cancelled
        }
    }

    fn facts(&self) -> std::sync::MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
