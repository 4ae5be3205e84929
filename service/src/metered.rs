//! A classifier that counts, as it goes, what attacks spend on it.

use std::sync::Arc;

use assay_graph::Loss;
use assay_runtime::{Class, Classifier, ClassifierSpec, Evaluated, RunError};
use ndarray::{Array2, ArrayView2};

use crate::{metrics::Metrics, repository::Hosted};

/// A classifier that counts, as it goes, what attacks spend on it.
#[derive(Debug)]
pub(crate) struct Metered {
    pub(crate) hosted: Arc<Hosted>,
    pub(crate) metrics: Metrics,
    /// The RPC that spends.
    pub(crate) rpc: &'static str,
}

impl Classifier for Metered {
    fn spec(&self) -> &ClassifierSpec {
        self.hosted.spec()
    }

    fn logits(&self, x: ArrayView2<'_, f32>) -> Result<Array2<f32>, RunError> {
        self.metrics.queried(self.rpc, &self.hosted.name, x.nrows());
        self.hosted.classifier().logits(x)
    }

    fn gradient(
        &self,
        x: ArrayView2<'_, f32>,
        loss: Loss,
        labels: &[Class],
        targets: Option<&[Class]>,
    ) -> Result<Evaluated, RunError> {
        self.metrics.differentiated(self.rpc, &self.hosted.name, x.nrows());
        self.hosted.classifier().gradient(x, loss, labels, targets)
    }

    fn vjp(&self, x: ArrayView2<'_, f32>, cotangent: ArrayView2<'_, f32>) -> Result<Evaluated, RunError> {
        self.metrics.differentiated(self.rpc, &self.hosted.name, x.nrows());
        self.hosted.classifier().vjp(x, cotangent)
    }
}
