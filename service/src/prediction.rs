//! What every prediction goes through, whichever service it is asked of.

use std::sync::Arc;

use ndarray::Array2;
use tracing::Instrument as _;

use crate::{core::Core, principals::Caller, quota::Kind, repository::Hosted, status::CallError, traces};

/// The answer to a batch.
#[derive(Clone, Debug)]
pub(crate) struct Predicted {
    /// `[n, classes]`, all finite.
    pub(crate) logits: Arc<Array2<f32>>,
    /// Samples that the model evaluated for it: all, or none where the answer was kept.
    pub(crate) evaluated: usize,
}

impl Core {
    /// Logits, `[n, classes]`, of `batch`, `[n, features]`: from the answers that are kept, or by the model.
    ///
    /// # Errors
    /// It is more than the caller may have, the model failed, or it gave logits that are not finite. Dropping the future takes the batch out of the model's queue.
    pub(crate) async fn predict(
        &self,
        caller: &Caller,
        hosted: &Hosted,
        batch: Array2<f32>,
    ) -> Result<Predicted, CallError> {
        let samples = batch.nrows();
        self.quotas.let_in(caller, Kind::Predictions, samples)?;
        self.watch_for_near_duplicates(caller, hosted, &batch)?;
        let Some(answers) = &self.answers else {
            let logits = Arc::new(evaluate(hosted, batch).await?);
            return Ok(Predicted { logits, evaluated: samples });
        };
        let key = answers.key(hosted, &batch);
        if let Some(logits) = answers.find(&key, &hosted.statistics) {
            return Ok(Predicted { logits, evaluated: 0 });
        }
        let logits = Arc::new(evaluate(hosted, batch).await?);
        answers.keep(key, &logits);
        Ok(Predicted { logits, evaluated: samples })
    }

    /// Counts samples that are nearly what the caller sent before: a model is attacked from outside by asking it about many variants of one sample.
    fn watch_for_near_duplicates(
        &self,
        caller: &Caller,
        hosted: &Hosted,
        batch: &Array2<f32>,
    ) -> Result<(), CallError> {
        let Some(watch) = &self.near_duplicates else { return Ok(()) };
        let found = watch.look(caller.owner(), &hosted.name, hosted.range(), &batch.view());
        if found == 0 {
            return Ok(());
        }
        self.metrics.near_duplicates(caller.owner(), &hosted.name, found);
        self.quotas.let_in(caller, Kind::NearDuplicates, found)
    }
}

async fn evaluate(hosted: &Hosted, batch: Array2<f32>) -> Result<Array2<f32>, CallError> {
    let span = traces::of_work("evaluate", batch.nrows());
    let logits = hosted.predict(batch).instrument(span).await?;
    match logits.rows().into_iter().position(|row| row.iter().any(|logit| !logit.is_finite())) {
        None => Ok(logits),
        Some(sample) => Err(CallError::Precondition(format!(
            "model `{}` gave logits that are not finite for sample {sample}; they have no probabilities",
            hosted.name
        ))),
    }
}
