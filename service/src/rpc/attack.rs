//! `Attack`.

use std::{num::NonZeroUsize, sync::Arc, time::Instant};

use assay_attack::{Attack, AttackError, Attacked, Cancel, Cost, Goal, Job, Outcome, Reason, SampleId, Threat};
use assay_proto::v1::{self, AttackRequest, AttackResponse, AttackResult, attack_response::Event};
use assay_runtime::{BACKGROUND, Class, Classifier};
use ndarray::Array2;
use tonic::Request;

use super::{
    model::gradients,
    request::{
        Allowance, allowance, attack as parse_attack, check_steps, expected, goal, labels, no_gradient, sample_ids,
        threat,
    },
};
use crate::{
    call::Call,
    core::Core,
    job::{self, Events, Progress},
    metered::Metered,
    status::CallError,
    tensor,
};

pub(super) fn attack(core: &Core, request: &Request<AttackRequest>) -> Result<Events<AttackResponse>, CallError> {
    let call = Call::of(request)?;
    let request = request.get_ref();
    let hosted = core.find(&call, "model", &request.model, &request.version)?;
    let limits = &core.config.limits;
    let images =
        tensor::decode("input", request.input.as_ref(), expected(&hosted, limits.max_batch, "limits.max_batch"))?;
    let n = images.nrows();
    call.samples(n);
    let attack = parse_attack("attack", request.attack.as_ref())?;
    check_steps("attack.parameters", attack.evaluations(), limits)?;
    let allowance = allowance("budget", request.budget.as_ref())?;
    let worst = if request.quote { 0 } else { allowance.caps(worst_case(attack.as_ref(), n)) };
    let reservation = core.quotas.reserve(&call.caller(), worst)?;
    let mut work = Work {
        labels: labels("labels", &request.labels, n, hosted.spec().classes)?,
        ids: sample_ids(&request.sample_ids, n)?,
        threat: threat("threat", request.threat.as_ref(), &hosted)?,
        goal: goal("target", request.target.as_ref(), n, hosted.spec().classes)?,
        seed: request.seed,
        batch: core.job_batch(),
        return_adversarial: request.return_adversarial,
        quote: request.quote,
        eight_bit: request.eight_bit,
        checks: !request.skip_checks,
        allowance,
        version: hosted.version.to_string(),
        classifier: Metered {
            hosted,
            metrics: core.metrics.clone(),
            rpc: "Attack",
            spent: reservation.meter(),
            cancel: Cancel::default(),
        },
        attack,
        images,
    };
    let permit = core.admission.job()?;
    let stopped = Arc::clone(&call);
    Ok(job::start(call, permit, core.nice(BACKGROUND), move |progress, cancel| {
        let _reservation = reservation;
        work.classifier.cancel = cancel.clone();
        work.run(progress, cancel, &stopped)
    }))
}

/// An attack that was understood.
struct Work {
    classifier: Metered,
    version: String,
    attack: Box<dyn Attack>,
    threat: Threat,
    goal: Goal,
    images: Array2<f32>,
    labels: Vec<Class>,
    ids: Vec<SampleId>,
    seed: u64,
    batch: NonZeroUsize,
    return_adversarial: bool,
    quote: bool,
    eight_bit: bool,
    checks: bool,
    allowance: Allowance,
}

impl Work {
    fn run(
        &self,
        progress: &Progress<AttackResponse>,
        cancel: &Cancel,
        call: &Call,
    ) -> Result<AttackResponse, CallError> {
        if self.quote {
            let quoted = AttackResult {
                version: self.version.clone(),
                worst_case: Some(self.worst_case()),
                ..Default::default()
            };
            return Ok(AttackResponse { event: Some(Event::Result(quoted)) });
        }
        let job = Job {
            classifier: &self.classifier,
            attack: self.attack.as_ref(),
            threat: &self.threat,
            goal: &self.goal,
            images: self.images.view(),
            labels: &self.labels,
            ids: &self.ids,
            seed: self.seed,
            batch: self.batch,
            budget: self.allowance.starting_now(),
            eight_bit: self.eight_bit,
            checks: self.checks,
        };
        let started = Instant::now();
        let mut observer =
            |now: assay_attack::Progress| progress.update(AttackResponse { event: Some(Event::Progress(now.into())) });
        let attacked = assay_attack::run(&job, &mut observer, cancel).map_err(|error| match error {
            AttackError::NoGradient { attack, reason } => {
                no_gradient(&self.classifier.hosted, &format!("attack `{attack}`"), &reason)
            }
            other => refused(other),
        })?;
        // What a budget ends is a result all the same.
        if attacked.stopped == Some(Reason::Cancelled) {
            return Err(call.why_stopped());
        }
        Ok(AttackResponse { event: Some(Event::Result(self.result(&attacked, started.elapsed().as_secs_f64()))) })
    }

    fn result(&self, attacked: &Attacked, seconds: f64) -> AttackResult {
        let adversarial = self.return_adversarial.then(|| {
            let mut batch = attacked.adversarial.clone();
            for (i, outcome) in attacked.outcomes.iter().enumerate() {
                if outcome.outcome != Outcome::Broken {
                    batch.row_mut(i).assign(&self.images.row(i));
                }
            }
            tensor::encode(&batch.view(), &self.classifier.spec().sample_shape)
        });
        AttackResult {
            version: self.version.clone(),
            adversarial,
            seconds,
            gradients: self.attack.description().needs_gradient.then(|| gradients(&self.classifier.spec().gradients)),
            worst_case: Some(self.worst_case()),
            ..attacked.into()
        }
    }

    fn worst_case(&self) -> v1::Cost {
        worst_case(self.attack.as_ref(), self.ids.len()).into()
    }
}

fn worst_case(attack: &dyn Attack, samples: usize) -> Cost {
    let (one, samples) = (attack.worst_case(), samples as u64);
    Cost { queries: samples.saturating_mul(one.queries), gradients: samples.saturating_mul(one.gradients) }
}

/// Why an attack was not run.
fn refused(error: AttackError) -> CallError {
    match error {
        AttackError::Model(error) => error.into(),
        AttackError::NoGradient { .. } => CallError::Precondition(error.to_string()),
        other => CallError::field("attack", other.to_string()),
    }
}
