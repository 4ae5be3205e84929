//! Looks at the model before an attack, and at the result after it, for what should make one doubt it.

use assay_graph::Loss;
use assay_runtime::Gradients;
use ndarray::{Array2, ArrayView1, Axis, s};

use crate::flag::BLACK_BOX_SHARE;
use crate::samples::{GRADIENT_NOT_FINITE, NOT_FINITE, Points, predicted};
use crate::{
    AttackError, Attacked, Cancel, Eps, Flag, FlagKind, Goal, Halt, Job, Norm, Outcome, Pgd, SampleOutcome, Samples,
    Start, StepSize, Threat, attacks, run,
};

/// Largest distance of the normalised logits of two evaluations of one batch.
const SAME: f32 = 1e-4;
/// How far numbers may be from those of a probability distribution.
const PROBABLE: f32 = 1e-5;
/// Samples on which an attack is tried that is not bounded by eps, its steps, and their length as a share of the range of inputs.
const UNBOUNDED: (usize, u32, f32) = (8, 40, 0.1);

/// What the first batch is seen to be before anything else is done.
pub(crate) struct First {
    /// Its logits, one row for each of its samples, where the model is looked at.
    logits: Option<Array2<f32>>,
    flag: Option<Flag>,
}

/// Evaluates the first batch, and its first sample alone. If that makes a difference, all calls have one size from here on, so that results do not
/// depend on how many samples are still under attack.
pub(crate) fn before(job: &Job<'_>, samples: &mut Samples<'_>) -> Result<First, Halt> {
    let mut first: Vec<usize> = (0..job.batch.get().min(samples.len())).collect();
    if !job.checks || first.is_empty() {
        return Ok(First { logits: None, flag: None });
    }
    let distinct = first.len();
    if distinct == 1 {
        first.push(0);
    }
    let logits = samples.look(Points::Clean, &first)?;
    let alone = samples.look(Points::Clean, &first[..1])?;
    let mut flag = None;
    // A model that answers at random differs from itself, too.
    if alone.row(0) != logits.row(0) && samples.look(Points::Clean, &first[..1])? == alone {
        let largest = logits.row(0).iter().zip(&alone).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        samples.oracle.fill(job.batch.get());
        let detail = format!(
            "a logit of the first sample differs by {largest:e} alone and in a batch of {}; calls are filled up to {} samples",
            first.len(),
            job.batch
        );
        flag = Some(Flag { kind: FlagKind::BatchDependentOutput, samples: 0, detail });
    }
    Ok(First { logits: Some(logits.slice_move(s![..distinct, ..])), flag })
}

/// What is to be said of the model once its clean logits are known.
pub(crate) fn model(first: &First, clean: &Array2<f32>) -> Vec<Flag> {
    let mut flags: Vec<Flag> = first.flag.iter().cloned().collect();
    if let Some(logits) = &first.logits {
        let of = logits.nrows().min(clean.nrows());
        let differ = clean.rows().into_iter().zip(logits.rows()).filter(|(a, b)| differ(a, b)).count();
        if differ > 0 {
            let detail = format!("{differ} of {of} samples had other logits when their batch was evaluated again");
            flags.push(Flag { kind: FlagKind::RandomizedOutput, samples: differ as u64, detail });
        }
    }
    if !clean.is_empty() && clean.rows().into_iter().all(|outputs| is_distribution(&outputs)) {
        let detail = format!("the outputs of all {} clean samples are probability distributions", clean.nrows());
        flags.push(Flag { kind: FlagKind::Probabilities, samples: 0, detail });
    }
    flags
}

/// Whether two evaluations of one sample disagree: on the class, or in the direction of the logits.
fn differ(a: &ArrayView1<'_, f32>, b: &ArrayView1<'_, f32>) -> bool {
    let length = |v: &ArrayView1<'_, f32>| v.iter().map(|v| v * v).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    let (of_a, of_b) = (length(a), length(b));
    let apart = a.iter().zip(b).map(|(a, b)| (a / of_a - b / of_b).powi(2)).sum::<f32>().sqrt();
    predicted(a) != predicted(b) || apart > SAME
}

fn is_distribution(outputs: &ArrayView1<'_, f32>) -> bool {
    outputs.iter().all(|v| (-PROBABLE..=1.0 + PROBABLE).contains(v)) && (outputs.sum() - 1.0).abs() <= PROBABLE
}

/// Looks at what an attack has left.
pub(crate) fn result(job: &Job<'_>, samples: &Samples<'_>, outcomes: &[SampleOutcome]) -> Vec<Flag> {
    let (spec, description) = (job.classifier.spec(), job.attack.description());
    let of = outcomes.len();
    let mut flags = Vec::new();
    let mut raise = |kind, samples: usize, detail: String| flags.push(Flag { kind, samples: samples as u64, detail });
    match &spec.gradients {
        Gradients::Unavailable(why) if !description.needs_gradient => {
            raise(FlagKind::NoGradient, 0, format!("the model has no gradient: {why}"));
        }
        Gradients::StraightThrough(nodes) if description.needs_gradient => {
            let detail = format!(
                "the gradient is estimated at {} nodes that round, the first is {}",
                nodes.len(),
                nodes.first().map_or("", |n| n)
            );
            raise(FlagKind::StraightThrough, 0, detail);
        }
        _ => {}
    }
    if let Some(detail) = job.attack.substitution(spec.classes) {
        raise(FlagKind::TooFewClasses, 0, detail);
    }
    let mut count = |kind, what: &str, holds: &dyn Fn(usize) -> bool| {
        let found = (0..of).filter(|&i| holds(i)).count();
        if found > 0 {
            raise(kind, found, format!("{found} of {of} samples {what}"));
        }
    };
    let (states, is) = (&samples.states, |i: usize, outcome| outcomes[i].outcome == outcome);
    count(FlagKind::ZeroGradient, "are robust, and their gradient was exactly zero at some step", &|i| {
        is(i, Outcome::Robust) && outcomes[i].zero_gradients > 0
    });
    count(
        FlagKind::ZeroGradient,
        "are what the attack was made from, and their gradient was exactly zero at some step",
        &|i| is(i, Outcome::Fitted) && outcomes[i].zero_gradients > 0,
    );
    count(FlagKind::NotFinite, "had logits or gradients that are not finite", &|i| {
        outcomes[i].error.as_deref().is_some_and(|why| [NOT_FINITE, GRADIENT_NOT_FINITE].contains(&why))
    });
    count(FlagKind::IncompleteOptimization, "are robust, and their loss still rose when the attack ended", &|i| {
        is(i, Outcome::Robust) && states[i].ascent.is_incomplete()
    });
    count(FlagKind::SilentSuccess, "count as robust, and were misclassified at some point inside the threat", &|i| {
        is(i, Outcome::Robust) && states[i].seen
    });
    count(FlagKind::UnstablePredictions, "were broken by points whose prediction did not hold", &|i| {
        is(i, Outcome::Unstable)
    });
    count(FlagKind::BudgetSpent, "had spent their budget before their attack ended", &|i| states[i].spent);
    if description.needs_gradient && job.threat.eps.is_finite() {
        let blind = |name: &str| attacks().iter().any(|d| d.name == name && !d.needs_gradient);
        let found = outcomes
            .iter()
            .filter(|o| o.outcome == Outcome::Broken && o.broken_by.as_deref().is_some_and(blind))
            .count();
        if found as f64 > BLACK_BOX_SHARE * of as f64 {
            let detail = format!(
                "{found} of {of} samples were broken by an attack without gradients, after those with had failed"
            );
            raise(FlagKind::BlackBoxStronger, found, detail);
        }
    }
    flags
}

/// Tries gradient ascent that no eps bounds on some of the samples that are robust.
pub(crate) fn unbounded(job: &Job<'_>, attacked: &mut Attacked, cancel: &Cancel) -> Result<(), AttackError> {
    let robust = attacked.outcomes.iter().enumerate().filter(|(_, o)| o.outcome == Outcome::Robust).map(|(i, _)| i);
    let chosen: Vec<usize> = robust.take(UNBOUNDED.0).collect();
    if chosen.is_empty() || !job.attack.description().needs_gradient || attacked.stopped.is_some() {
        return Ok(());
    }
    let bounds = job.threat.bounds;
    let step = StepSize::Fixed(UNBOUNDED.2 * (bounds.high() - bounds.low()));
    let pgd = Pgd { steps: UNBOUNDED.1, step, start: Start::Image, loss: Loss::Margin, ..Pgd::default() };
    let images = job.images.select(Axis(0), &chosen);
    let of = |i: &usize| (job.labels[*i], job.ids[*i]);
    let (labels, ids): (Vec<_>, Vec<_>) = chosen.iter().map(of).unzip();
    let free = Job {
        attack: &pgd,
        threat: &Threat { norm: Norm::Linf, eps: Eps::infinite(), bounds },
        images: images.view(),
        labels: &labels,
        ids: &ids,
        goal: &Goal::Untargeted,
        checks: false,
        ..*job
    };
    let tried = run(&free, &mut |_| {}, cancel)?;
    attacked.checks += tried.cost;
    let resisted = tried.count(Outcome::Robust);
    if tried.stopped.is_none() && resisted > 0 {
        let detail = format!("{resisted} of {} robust samples resist gradient ascent to any valid input", chosen.len());
        attacked.flags.push(Flag { kind: FlagKind::UnconstrainedAttackFails, samples: resisted as u64, detail });
    }
    Ok(())
}
