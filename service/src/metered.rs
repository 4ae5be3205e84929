//! A classifier that counts, as it goes, what attacks spend on it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use assay_graph::Loss;
use assay_runtime::{Cancel, Class, Classifier, ClassifierSpec, Evaluated, Objective, RunError};
use ndarray::{Array2, ArrayView2};

use crate::{metrics::Metrics, repository::Hosted};

/// A classifier that counts, as it goes, what attacks spend on it.
#[derive(Debug)]
pub(crate) struct Metered {
    pub(crate) hosted: Arc<Hosted>,
    pub(crate) metrics: Metrics,
    /// The RPC that spends.
    pub(crate) rpc: &'static str,
    /// Where the samples that it evaluates are counted for whoever has to have them.
    pub(crate) spent: Arc<AtomicU64>,
    /// Stops what runs.
    pub(crate) cancel: Cancel,
}

impl Metered {
    fn queries(&self, samples: usize) {
        self.metrics.queried(self.rpc, &self.hosted.name, samples);
        self.spent.fetch_add(samples as u64, Ordering::Relaxed);
    }

    /// Evaluates a batch, and notes how long that took.
    fn step<T>(&self, evaluate: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let evaluated = evaluate();
        self.metrics.stepped(self.rpc, &self.hosted.name, began.elapsed());
        evaluated
    }

    fn gradients(&self, samples: usize) {
        self.metrics.differentiated(self.rpc, &self.hosted.name, samples);
        self.spent.fetch_add(samples as u64, Ordering::Relaxed);
    }
}

impl Classifier for Metered {
    fn spec(&self) -> &ClassifierSpec {
        self.hosted.spec()
    }

    fn logits(&self, x: ArrayView2<'_, f32>) -> Result<Array2<f32>, RunError> {
        self.queries(x.nrows());
        self.step(|| self.hosted.logits(&x, &self.cancel))
    }

    fn gradient(
        &self,
        x: ArrayView2<'_, f32>,
        loss: Loss,
        labels: &[Class],
        targets: Option<&[Class]>,
    ) -> Result<Evaluated, RunError> {
        self.gradients(x.nrows());
        self.step(|| self.hosted.differentiate(&x, Objective::Loss { loss, labels, targets }, &self.cancel))
    }

    fn vjp(&self, x: ArrayView2<'_, f32>, cotangent: ArrayView2<'_, f32>) -> Result<Evaluated, RunError> {
        self.gradients(x.nrows());
        self.step(|| self.hosted.differentiate(&x, Objective::Cotangent(cotangent), &self.cancel))
    }
}
