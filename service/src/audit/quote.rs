//! What an audit would cost: the counts of its plan, and the pace of its models, which is measured.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use assay_attack::Cancel;
use assay_audit::{
    ModelId, Pace, Quote,
    job::{JobId, ModelDigest},
};
use assay_graph::Loss;
use assay_runtime::{Class, Classifier, Gradients, RunError};
use ndarray::Array2;

use super::{Audits, Chosen, Wanted, data, meant};
use crate::{core::Core, metered::Metered, repository::Hosted, status::CallError};

/// RPC that the work is counted under.
const RPC: &str = "QuoteAudit";
/// Most calls of a kind that are timed.
const CALLS: usize = 5;
/// No further call is timed after as long.
const ENOUGH: Duration = Duration::from_millis(100);

/// What an audit would cost.
#[derive(Debug)]
pub(crate) struct Quoted {
    /// The job that does it already.
    pub(crate) job: Option<JobId>,
    pub(crate) quote: Quote,
    /// The models in the order of the plan.
    pub(crate) models: Vec<ModelDigest>,
    /// The pace of each; none where nothing was timed.
    pub(crate) paces: Vec<Pace>,
    /// Why a pace is not known; empty: all are.
    pub(crate) untimed: String,
}

impl Audits {
    /// Says what an audit would cost: checks what [`Audits::start`] checks, makes nothing, and times the models if a place is free. Blocks.
    ///
    /// `samples` is the number of those that need not be there yet; 0: they are counted.
    ///
    /// # Errors
    /// The key belongs to another job; models or data are not there or do not fit; a model cannot be evaluated; `cancel` was set.
    pub(crate) fn quote(
        &self,
        core: &Core,
        wanted: Wanted,
        samples: u64,
        cancel: &Cancel,
    ) -> Result<Quoted, CallError> {
        let (join, caller) = (wanted.join, wanted.caller.clone());
        let Chosen { asked, first, hosted } = Chosen::of(core, wanted.asked(core))?;
        let samples = data::number(core, &self.spool, &asked, samples, &first)?;
        let quote = Quote::of(&asked.plan, samples, first.spec().features(), asked.shard)
            .map_err(|error| CallError::field("plan", error.to_string()))?;
        let job = meant(&self.locked(), &asked, join, &caller)?.map(|job| job.id);
        let mut quoted = Quoted { job, quote, models: asked.models, paces: Vec::new(), untimed: String::new() };
        if let Some(job) = job {
            quoted.untimed = format!("audit {job} measures this already");
            return Ok(quoted);
        }
        if quoted.quote.certificates() > 0 {
            quoted.untimed = "how long certificates take depends on the samples".to_owned();
        }
        let _permit = match core.admission.job() {
            Ok(permit) => permit,
            Err(busy) => {
                quoted.untimed = busy.to_string();
                return Ok(quoted);
            }
        };
        for (model, hosted) in (0..).map(ModelId).zip(hosted) {
            let differentiates = quoted.quote.differentiates(model);
            if let (Gradients::Unavailable(reason), true) = (&hosted.spec().gradients, differentiates) {
                let Hosted { name, version, .. } = hosted.as_ref();
                quoted.untimed =
                    format!("model `{name}`, version {version}, has no gradient, which the plan needs: {reason}");
            }
            let batch = batch(core, &quoted.quote);
            quoted.paces.push(pace(core, hosted, batch, differentiates, cancel)?);
        }
        Ok(quoted)
    }
}

/// Samples of the calls that an audit makes as long as all of them resist.
fn batch(core: &Core, quote: &Quote) -> usize {
    let most = quote.samples.min(u64::from(quote.chunk)).max(1);
    usize::try_from(most).unwrap_or(usize::MAX).min(core.job_batch().get())
}

/// Times a model in calls of so many samples, with its gradient where that is wanted and there.
fn pace(
    core: &Core,
    hosted: Arc<Hosted>,
    batch: usize,
    differentiates: bool,
    cancel: &Cancel,
) -> Result<Pace, CallError> {
    let spec = hosted.spec();
    let has_gradient = !matches!(spec.gradients, Gradients::Unavailable(_));
    let (samples, labels) = (spread(hosted.range(), batch, spec.features()), vec![Class(0); batch]);
    let model =
        Metered { hosted, metrics: core.metrics.clone(), rpc: RPC, spent: Arc::default(), cancel: Cancel::default() };
    let query = timed(cancel, || model.logits(samples.view()).map(drop))?;
    let gradient = match differentiates && has_gradient {
        true => Some(timed(cancel, || model.gradient(samples.view(), Loss::CrossEntropy, &labels, None).map(drop))?),
        false => None,
    };
    let of_one = |seconds: f64| seconds / batch as f64;
    Ok(Pace { query: of_one(query), gradient: gradient.map(of_one) })
}

/// A batch `[n, features]` of valid values all over a model's range: what is in a sample does not change how long it takes, but zeros might.
fn spread([low, high]: [f32; 2], n: usize, features: usize) -> Array2<f32> {
    // Multiples of the golden ratio lie evenly between whole numbers.
    const GOLDEN: f64 = 0.618_033_988_749_895;
    let value = |i: usize| low + (high - low) * (i as f64 * GOLDEN).fract() as f32;
    Array2::from_shape_fn((n, features), |(row, column)| value(row * features + column).clamp(low, high))
}

/// Seconds of a call: the median of a few, behind one that may have to derive a graph and open sessions, which the audit would have to do anyway.
fn timed(cancel: &Cancel, mut call: impl FnMut() -> Result<(), RunError>) -> Result<f64, CallError> {
    call()?;
    let mut seconds = Vec::with_capacity(CALLS);
    let start = Instant::now();
    while seconds.is_empty() || (seconds.len() < CALLS && start.elapsed() < ENOUGH) {
        if cancel.is_cancelled() {
            return Err(CallError::Cancelled);
        }
        let begun = Instant::now();
        call()?;
        seconds.push(begun.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds.get(seconds.len() / 2).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_to_time_is_valid_and_not_all_the_same() {
        let samples = spread([-1.0, 3.0], 8, 100);
        assert_eq!(samples.dim(), (8, 100));
        assert!(samples.iter().all(|value| (-1.0..=3.0).contains(value)));
        let below = samples.iter().filter(|value| **value < 1.0).count();
        assert!((380..=420).contains(&below), "{below} of 800 in the lower half");
    }

    #[test]
    fn the_first_call_is_not_timed_and_few_follow_it() {
        let mut calls = 0;
        let seconds = timed(&Cancel::default(), || {
            calls += 1;
            if calls == 1 {
                std::thread::sleep(ENOUGH);
            }
            Ok(())
        });
        assert!(seconds.unwrap() < ENOUGH.as_secs_f64());
        assert_eq!(calls, 1 + CALLS);
        let stopped = Cancel::default();
        stopped.cancel();
        assert_eq!(timed(&stopped, || Ok(())), Err(CallError::Cancelled));
    }
}
