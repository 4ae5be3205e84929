//! What training minimises, and on which versions of the samples: one file for each method of the literature.

mod adversarial;
mod alp;
mod divergence;
mod free;
mod mart;
mod standard;
mod trades;

use assay_graph::Criterion;
use assay_runtime::{OnnxClassifier, RunError};
use ndarray::{Array2, ArrayView2};

pub use adversarial::Adversarial;
pub use alp::Alp;
pub use free::Free;
pub use mart::Mart;
pub use standard::Standard;
pub use trades::Trades;

use crate::Net;
use crate::perturb::{Perturbation, Stream};
use crate::trainer::Batch;

/// What a run minimises.
pub trait Objective: Send {
    /// The name users write.
    fn name(&self) -> &'static str;

    /// The loss on the logits of the views.
    fn criterion(&self) -> &dyn Criterion;

    /// The versions of the samples that the loss reads, as many as the criterion's views, each `[n, features]`.
    ///
    /// # Errors
    /// The model that was asked for a gradient failed.
    fn views(&mut self, batch: &Batch<'_>, attacker: &mut Attacker<'_>) -> Result<Vec<Array2<f32>>, RunError>;

    /// Forgets what it carried from batch to batch: a run that goes on from a checkpoint begins like this too.
    fn begin_epoch(&mut self) {}

    /// How often each batch is used, one step each.
    fn replays(&self) -> u32 {
        1
    }

    /// Whether each step shall give the gradient of the loss by the last view as well.
    fn wants_gradient(&self) -> bool {
        false
    }

    /// Takes the gradient by the last view of the step that was just made, `[n, features]`.
    fn observe(&mut self, batch: &Batch<'_>, gradient: ArrayView2<'_, f32>) {
        let _ = (batch, gradient);
    }
}

/// Perturbs samples against the net as it is now, with its running statistics (batch norms as at inference).
pub struct Attacker<'a> {
    base: &'a OnnxClassifier,
    net: &'a Net,
    stream: Stream,
    /// The net with its weights as constants, which ONNX Runtime computes faster; made when it is first asked for.
    frozen: Option<OnnxClassifier>,
}

impl<'a> Attacker<'a> {
    pub(crate) fn new(base: &'a OnnxClassifier, net: &'a Net, stream: Stream) -> Self {
        Self { base, net, stream, frozen: None }
    }

    /// The perturbed samples, `[n, features]`.
    ///
    /// # Errors
    /// The net has no gradient by its input, or a run failed.
    pub fn perturb(&mut self, by: &Perturbation, batch: &Batch<'_>) -> Result<Array2<f32>, RunError> {
        let model = match self.frozen.take() {
            Some(model) => model,
            None => {
                let frozen = self.base.with_weights(self.net.tensors());
                frozen.map_err(|cause| RunError::Runtime(format!("a snapshot of the net: {cause}")))?
            }
        };
        let model = self.frozen.insert(model);
        by.run(model, &batch.samples, batch.labels, batch.ids, self.stream)
    }
}
