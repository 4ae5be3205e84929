//! What the attack engine found, in the words of the contract: the server says it to clients, and a client that attacks another
//! server to itself.

use assay_attack::{Attacked, Reason};

use crate::v1;

impl From<assay_attack::Cost> for v1::Cost {
    fn from(cost: assay_attack::Cost) -> Self {
        Self { queries: cost.queries, gradients: cost.gradients }
    }
}

impl From<assay_attack::Progress> for v1::AttackProgress {
    fn from(progress: assay_attack::Progress) -> Self {
        let assay_attack::Progress { steps_done, steps_total, samples, finished, broken } = progress;
        Self { steps_done, steps_total, samples, finished, broken }
    }
}

impl From<&assay_attack::Flag> for v1::Flag {
    fn from(flag: &assay_attack::Flag) -> Self {
        Self {
            kind: flag.kind.name().to_owned(),
            samples: flag.samples,
            detail: flag.detail.clone(),
            meaning: flag.kind.meaning().to_owned(),
            remedy: flag.kind.remedy().to_owned(),
        }
    }
}

impl From<assay_attack::Outcome> for v1::Outcome {
    fn from(outcome: assay_attack::Outcome) -> Self {
        match outcome {
            assay_attack::Outcome::Misclassified => Self::Misclassified,
            assay_attack::Outcome::Robust => Self::Robust,
            assay_attack::Outcome::Broken => Self::Broken,
            assay_attack::Outcome::Unstable => Self::Unstable,
            assay_attack::Outcome::Error => Self::Error,
            assay_attack::Outcome::Fitted => Self::Fitted,
        }
    }
}

/// Outcomes, costs, flags and what stopped it; the fields that the engine does not know are left at their defaults.
impl From<&Attacked> for v1::AttackResult {
    fn from(attacked: &Attacked) -> Self {
        let stopped = match attacked.stopped {
            Some(Reason::Queries) => "queries",
            Some(Reason::Gradients) => "gradients",
            Some(Reason::Deadline) => "seconds",
            Some(Reason::Cancelled) | None => "",
        };
        Self {
            outcomes: attacked.outcomes.iter().zip(&attacked.seconds).map(sample).collect(),
            cost: Some(attacked.cost.into()),
            checks: Some(attacked.checks.into()),
            flags: attacked.flags.iter().map(Into::into).collect(),
            stopped: stopped.to_owned(),
            ..Self::default()
        }
    }
}

fn sample((outcome, &seconds): (&assay_attack::SampleOutcome, &f64)) -> v1::SampleOutcome {
    let clean_prediction = outcome.clean_prediction.map_or(0, |class| class.0);
    v1::SampleOutcome {
        sample_id: outcome.id.0,
        outcome: v1::Outcome::from(outcome.outcome).into(),
        label: outcome.label.0,
        target: outcome.target.map(|class| class.0),
        clean_prediction,
        adversarial_prediction: outcome.adversarial_prediction.map_or(clean_prediction, |class| class.0),
        distance_linf: outcome.distance.linf,
        distance_l2: outcome.distance.l2,
        distance_l1: outcome.distance.l1,
        distance_l0: outcome.distance.l0,
        cost: Some(outcome.cost.into()),
        error: outcome.error.clone().unwrap_or_default(),
        broken_by: outcome.broken_by.clone().unwrap_or_default(),
        seconds,
    }
}
