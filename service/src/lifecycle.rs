//! The life of a server: loading, ready, draining, cut off.

use tokio_util::sync::CancellationToken;

use crate::repository::Repository;

/// Where a server is in its life. Each step is taken once and never undone.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    loaded: CancellationToken,
    draining: CancellationToken,
    cut: CancellationToken,
}

impl Lifecycle {
    /// Every model was tried.
    pub(crate) fn set_loaded(&self) {
        self.loaded.cancel();
    }

    /// Cancelled when every model was tried.
    pub(crate) fn loaded(&self) -> &CancellationToken {
        &self.loaded
    }

    /// No new work.
    pub(crate) fn drain(&self) {
        self.draining.cancel();
    }

    /// No work at all.
    pub(crate) fn cut_off(&self) {
        self.draining.cancel();
        self.cut.cancel();
    }

    /// Cancelled when there is to be no new work.
    pub(crate) fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Cancelled when there is to be no work at all.
    pub(crate) fn cut(&self) -> &CancellationToken {
        &self.cut
    }

    /// Why the server takes no traffic; empty when it does.
    pub(crate) fn not_ready(&self, repository: &Repository, require_all: bool) -> Vec<String> {
        if self.draining.is_cancelled() {
            return vec!["draining".to_owned()];
        }
        if !self.loaded.is_cancelled() {
            return vec!["models are being loaded".to_owned()];
        }
        let failures = repository.failures();
        if require_all && !failures.is_empty() {
            return failures;
        }
        if repository.hosted().is_empty() {
            let mut reasons = vec!["no model is loaded".to_owned()];
            reasons.extend(failures);
            return reasons;
        }
        Vec::new()
    }
}
