//! A run: clean prediction, attack, verification.

use std::num::NonZeroUsize;

use assay_runtime::{Class, Classifier};
use ndarray::{Array2, ArrayView1, ArrayView2};

use crate::inspect;
use crate::samples::{NOT_FINITE, Points, fitted, predicted};
use crate::validate::validate;
use crate::{
    Attack, AttackError, Attacked, Budget, Cancel, Cost, Distance, Goal, Halt, Outcome, Progress, Reason, SampleId,
    SampleOutcome, SampleRng, Samples, Threat,
};

/// An attack on samples.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// The model.
    pub classifier: &'a dyn Classifier,
    /// The attack.
    pub attack: &'a dyn Attack,
    /// What the adversary may do.
    pub threat: &'a Threat,
    /// What counts as success.
    pub goal: &'a Goal,
    /// Clean samples, `[n, features]`: finite and inside the threat's bounds.
    pub images: ArrayView2<'a, f32>,
    /// True class of each sample.
    pub labels: &'a [Class],
    /// Identity of each sample, all different.
    pub ids: &'a [SampleId],
    /// Seed of all randomness. A sample's result depends on this and its id, not on the batch, and not on the other samples unless the attack is made from
    /// them ([`Attack::fitted_share`]).
    pub seed: u64,
    /// Most samples in one call of the model.
    pub batch: NonZeroUsize,
    /// What may be spent.
    pub budget: Budget,
    /// Whether only images of 8 bits count: points are rounded to them before they are evaluated. The samples must be such images.
    pub eight_bit: bool,
    /// Whether the model is looked at for what would make the result doubtful, at the cost of some evaluations beside the attack; flags that cost none are
    /// raised in any case.
    pub checks: bool,
}

/// Attacks the samples of `job` that the model classifies correctly.
///
/// What the attack finds is evaluated again, forward only, in a batch with the other finds and alone: a sample is broken only
/// if all three agree on the class. `observer` is called after every call of the model and once at the end.
///
/// # Errors
/// The job is not valid, the model has no gradient and the attack needs one, or a call of the model failed. A stop is not an
/// error: see [`Attacked::stopped`].
pub fn run(job: &Job<'_>, observer: &mut dyn FnMut(Progress), cancel: &Cancel) -> Result<Attacked, AttackError> {
    validate(job)?;
    let mut samples = Samples::new(job, cancel, observer);
    let mut flags = Vec::new();
    let mut nothing_to_fit = false;
    let attacked = inspect::before(job, &mut samples).and_then(|first| {
        let clean = predict(job, &mut samples)?;
        flags = inspect::model(&first, &clean);
        nothing_to_fit = fitted(job) > 0 && !samples.states.iter().any(|state| state.fitted && state.active);
        if nothing_to_fit { Ok(()) } else { job.attack.run(&mut samples) }
    });
    if nothing_to_fit {
        return Err(AttackError::Invalid(format!(
            "attack \"{}\" is made from the first {} of {} samples, and the model classifies none of those correctly; put others first",
            job.attack.description().name,
            fitted(job),
            job.ids.len()
        )));
    }
    if let Some(reason) = stop(attacked)? {
        samples.stopped = Some(reason);
        for i in samples.active() {
            samples.fail(i, &format!("not measured: {reason} before its attack ended"));
        }
    }
    for i in samples.active() {
        samples.retire(i);
    }
    let mut verified = vec![None; job.ids.len()];
    if let Some(reason) = stop(verify(job, &mut samples, &mut verified))? {
        samples.stopped = Some(reason);
    }
    samples.report();
    let mut attacked = conclude(job, &samples, &verified);
    flags.extend(inspect::result(job, &samples, &attacked.outcomes));
    attacked.flags = flags;
    if job.checks {
        inspect::unbounded(job, &mut attacked, cancel)?;
    }
    attacked.flags.sort_by_key(|flag| flag.kind);
    Ok(attacked)
}

/// Clean logits, `[n, classes]`: the samples that are wrong, or on which the model fails, are not attacked.
fn predict(job: &Job<'_>, samples: &mut Samples<'_>) -> Result<Array2<f32>, Halt> {
    let mut all = Array2::zeros((samples.len(), job.classifier.spec().classes));
    for who in samples.active().chunks(job.batch.get()) {
        let logits = samples.logits(Points::Clean, who)?;
        for (&i, logits) in who.iter().zip(logits.rows()) {
            all.row_mut(i).assign(&logits);
            let clean = predicted(&logits);
            let rivals = rivals(&logits, job.labels[i]);
            let mut rng = SampleRng::new(job.seed, job.ids[i], "target", 0);
            let state = &mut samples.states[i];
            state.clean = clean;
            state.target = job.goal.target(i, &rivals, &mut rng);
            state.rivals = rivals;
            match clean {
                None => samples.fail(i, NOT_FINITE),
                Some(class) if class != job.labels[i] => {
                    samples.progress.broken += u64::from(!samples.states[i].fitted);
                    samples.retire(i);
                }
                Some(_) => {}
            }
        }
        samples.report();
    }
    Ok(all)
}

/// The classes other than the label, those with the largest logits first; of equal ones the lower class.
fn rivals(logits: &ArrayView1<'_, f32>, label: Class) -> Vec<Class> {
    let mut classes: Vec<Class> = (0..).map(Class).take(logits.len()).filter(|class| *class != label).collect();
    classes.sort_by(|a, b| logits[b.index()].total_cmp(&logits[a.index()]));
    classes
}

/// What the model says of an adversarial sample when it is evaluated again; `None`: logits that are not finite.
#[derive(Clone, Copy)]
struct Verified {
    in_batch: Option<Class>,
    alone: Option<Class>,
}

fn verify(job: &Job<'_>, samples: &mut Samples<'_>, verified: &mut [Option<Verified>]) -> Result<(), Halt> {
    samples.oracle.lift_deadline();
    let found: Vec<usize> = (0..samples.states.len()).filter(|&i| samples.states[i].found.is_some()).collect();
    for who in found.chunks(job.batch.get()) {
        let together = samples.logits(Points::Decoded, who)?;
        samples.report();
        for (&i, logits) in who.iter().zip(together.rows()) {
            let alone = samples.alone(Points::Found, i)?;
            verified[i] = Some(Verified { in_batch: predicted(&logits), alone: predicted(&alone.row(0)) });
            samples.report();
        }
    }
    Ok(())
}

/// A stop is the end of the attack, a failure that of the run.
fn stop(result: Result<(), Halt>) -> Result<Option<Reason>, AttackError> {
    match result {
        Ok(()) => Ok(None),
        Err(Halt::Stop(reason)) => Ok(Some(reason)),
        Err(Halt::Failed(error)) => Err(error.into()),
    }
}

fn conclude(job: &Job<'_>, samples: &Samples<'_>, verified: &[Option<Verified>]) -> Attacked {
    let mut adversarial = Array2::zeros(job.images.dim());
    let mut cost = Cost::default();
    let mut outcomes = Vec::with_capacity(verified.len());
    for (i, (verified, mut row)) in verified.iter().zip(adversarial.rows_mut()).enumerate() {
        let outcome = conclude_one(job, samples, i, *verified);
        let (clean, found) = samples.pair(i);
        let shown = if outcome.adversarial_prediction.is_some() { found } else { clean };
        row.assign(&ArrayView1::from(shown));
        cost += outcome.cost;
        outcomes.push(outcome);
    }
    Attacked {
        outcomes,
        adversarial,
        cost,
        checks: samples.oracle.checks,
        seconds: (0..verified.len()).map(|i| samples.oracle.seconds(i)).collect(),
        flags: Vec::new(),
        stopped: samples.stopped,
    }
}

fn conclude_one(job: &Job<'_>, samples: &Samples<'_>, i: usize, verified: Option<Verified>) -> SampleOutcome {
    let state = &samples.states[i];
    let (clean, found) = samples.pair(i);
    let label = job.labels[i];
    let none = (None, Distance::default());
    let (outcome, (adversarial_prediction, distance), error) = match (state.found, verified) {
        _ if state.fitted => (Outcome::Fitted, none, state.error.clone()),
        (Some(_), None) => (
            Outcome::Error,
            none,
            Some("not measured: the run was stopped before what was found was verified".to_owned()),
        ),
        (Some(_), _) if !job.threat.allows(clean, found) => {
            (Outcome::Error, none, Some(format!("the attack left its threat {}: a defect of the attack", job.threat)))
        }
        (Some((class, _)), Some(Verified { in_batch: Some(in_batch), alone: Some(alone) })) => {
            let holds = in_batch == class && alone == class;
            let outcome = if holds { Outcome::Broken } else { Outcome::Unstable };
            (outcome, (Some(alone), Distance::between(clean, found)), None)
        }
        (Some(_), Some(_)) => (Outcome::Error, none, Some(NOT_FINITE.to_owned())),
        (None, _) if state.error.is_some() => (Outcome::Error, none, state.error.clone()),
        (None, _) if state.clean == Some(label) => (Outcome::Robust, none, None),
        (None, _) => (Outcome::Misclassified, none, None),
    };
    SampleOutcome {
        id: job.ids[i],
        label,
        target: state.target,
        clean_prediction: state.clean,
        outcome,
        adversarial_prediction,
        broken_by: state.found_by.filter(|_| adversarial_prediction.is_some()).map(ToOwned::to_owned),
        distance,
        cost: samples.oracle.spent(i),
        zero_gradients: state.zero_gradients,
        error,
    }
}
