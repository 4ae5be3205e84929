//! Parts of requests that several handlers read.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use assay_attack::{Attack, Bounds, Budget, Cost, Goal, Norm, ParamError, SampleId, Target, Threat};
use assay_proto::v1::{self, TargetChoice};
use assay_runtime::{Class, ClassifierSpec};

use crate::{config::Limits, repository::Hosted, status::CallError, tensor::Expected};

/// Bytes of a message that are no tensor's: names, shapes, lengths. Generous.
const ENVELOPE: usize = 4096;

/// What a batch for this model must look like.
pub(crate) fn expected<'a>(hosted: &'a Hosted, max_batch: usize, limit: &'static str) -> Expected<'a> {
    Expected { sample_shape: &hosted.spec().sample_shape, range: hosted.range(), max_batch, limit }
}

/// Most samples of one `Gradient` of this model, and the configuration key that says so: its answer must fit a message.
pub(super) fn gradient_limit(limits: &Limits, spec: &ClassifierSpec) -> (usize, &'static str) {
    let answer = size_of::<f32>().saturating_mul(spec.features() + spec.classes + 1);
    let fit = limits.max_message_bytes.saturating_sub(ENVELOPE) / answer;
    if fit < limits.max_gradient_batch {
        (fit, "limits.max_message_bytes")
    } else {
        (limits.max_gradient_batch, "limits.max_gradient_batch")
    }
}

/// The model has no gradient, which `what` needs; `reason` names the operator and the node.
pub(super) fn no_gradient(hosted: &Hosted, what: &str, reason: &str) -> CallError {
    let Hosted { name, version, .. } = hosted;
    CallError::Precondition(format!(
        "model `{name}`, version {version}, has no gradient, which {what} needs: {reason}; Predict works without one"
    ))
}

/// The range of the model's input.
pub(crate) fn bounds(hosted: &Hosted) -> Result<Bounds, CallError> {
    let [low, high] = hosted.range();
    Bounds::new(low, high).map_err(|e| CallError::Internal(e.to_string()))
}

/// One label for each of `n` samples, each a class of the model.
pub(crate) fn labels(field: &str, labels: &[u32], n: usize, classes: usize) -> Result<Vec<Class>, CallError> {
    if labels.len() != n {
        return Err(CallError::field(
            field,
            format!("expected {n} classes, one for each sample, got {}", labels.len()),
        ));
    }
    let labels: Vec<Class> = labels.iter().copied().map(Class).collect();
    match labels.iter().position(|label| label.index() >= classes) {
        None => Ok(labels),
        Some(at) => Err(CallError::field(
            format!("{field}[{at}]"),
            format!("expected a class, 0 to {}, got {}", classes.saturating_sub(1), labels[at]),
        )),
    }
}

/// The given ids, or 0, 1, 2, ...
pub(super) fn sample_ids(given: &[u64], n: usize) -> Result<Vec<SampleId>, CallError> {
    if given.is_empty() {
        return Ok((0..n as u64).map(SampleId).collect());
    }
    if given.len() != n {
        return Err(CallError::field(
            "sample_ids",
            format!("expected none, or {n}, one for each sample, got {}", given.len()),
        ));
    }
    Ok(given.iter().copied().map(SampleId).collect())
}

/// The norm in `field`.
pub(super) fn norm(field: &str, number: i32) -> Result<Norm, CallError> {
    match v1::Norm::try_from(number) {
        Ok(v1::Norm::Linf) => Ok(Norm::Linf),
        Ok(v1::Norm::L2) => Ok(Norm::L2),
        Ok(v1::Norm::L1) => Ok(Norm::L1),
        Ok(v1::Norm::L0) => Ok(Norm::L0),
        Ok(v1::Norm::Unspecified) | Err(_) => {
            Err(CallError::field(field, format!("expected NORM_LINF, NORM_L2, NORM_L1 or NORM_L0, got {number}")))
        }
    }
}

/// The threat in `field` against a model.
pub(super) fn threat(field: &str, threat: Option<&v1::Threat>, hosted: &Hosted) -> Result<Threat, CallError> {
    let threat = threat.ok_or_else(|| CallError::field(field, "missing; give norm and eps"))?;
    let norm = norm(&format!("{field}.norm"), threat.norm)?;
    let eps = threat
        .eps
        .parse()
        .map_err(|e: assay_attack::EpsError| CallError::field(format!("{field}.eps"), e.to_string()))?;
    Ok(Threat { norm, eps, bounds: bounds(hosted)? })
}

/// What counts as success: the target in `field`, if there is one.
pub(super) fn goal(field: &str, target: Option<&v1::Target>, n: usize, classes: usize) -> Result<Goal, CallError> {
    let Some(target) = target else { return Ok(Goal::Untargeted) };
    let choice = target.choice();
    for (part, given, read_with) in
        [("classes", !target.classes.is_empty(), TargetChoice::Classes), ("rank", target.rank != 0, TargetChoice::Rank)]
    {
        if given && choice != read_with {
            let text =
                format!("is read with {} only, got {}; leave it out", read_with.as_str_name(), choice.as_str_name());
            return Err(CallError::field(format!("{field}.{part}"), text));
        }
    }
    Ok(Goal::Targeted(match choice {
        TargetChoice::Classes => Target::Classes(labels(&format!("{field}.classes"), &target.classes, n, classes)?),
        TargetChoice::LeastLikely => Target::LeastLikely,
        TargetChoice::Random => Target::Random,
        TargetChoice::Rank => Target::Rank(target.rank),
        TargetChoice::Unspecified => {
            let known = "TARGET_CHOICE_CLASSES, TARGET_CHOICE_LEAST_LIKELY, TARGET_CHOICE_RANDOM or TARGET_CHOICE_RANK";
            return Err(CallError::field(
                format!("{field}.choice"),
                format!("expected {known}, got {}", target.choice),
            ));
        }
    }))
}

/// The longest time that can be given.
const LONGEST: f64 = 1e9;

/// What an attack may spend.
#[derive(Clone, Copy, Default)]
pub(super) struct Allowance {
    queries: Option<u64>,
    gradients: Option<u64>,
    time: Option<Duration>,
}

impl Allowance {
    /// What is left of so many evaluations where the budget ends before them.
    pub(super) fn caps(self, worst: Cost) -> u64 {
        let [queries, gradients] = [(worst.queries, self.queries), (worst.gradients, self.gradients)]
            .map(|(worst, most)| most.map_or(worst, |most| worst.min(most)));
        queries.saturating_add(gradients)
    }

    /// The budget of an attack that begins now.
    pub(super) fn starting_now(self) -> Budget {
        let deadline = self.time.and_then(|time| Instant::now().checked_add(time));
        Budget { queries: self.queries, gradients: self.gradients, deadline }
    }
}

/// The budget in `field`; 0 stands for no limit.
pub(super) fn allowance(field: &str, budget: Option<&v1::Budget>) -> Result<Allowance, CallError> {
    let Some(budget) = budget else { return Ok(Allowance::default()) };
    let time = seconds(&format!("{field}.seconds"), budget.seconds)?;
    let limit = |most: u64| (most > 0).then_some(most);
    Ok(Allowance { queries: limit(budget.queries), gradients: limit(budget.gradients), time })
}

/// The limit of time in `field`; 0 stands for none.
pub(super) fn seconds(field: &str, seconds: f64) -> Result<Option<Duration>, CallError> {
    if !(0.0..=LONGEST).contains(&seconds) {
        let text = format!("expected a number from 0 to {LONGEST}, got {seconds}; 0 is no limit");
        return Err(CallError::field(field, text));
    }
    Ok((seconds > 0.0).then(|| Duration::from_secs_f64(seconds)))
}

/// The attack in `field`.
pub(super) fn attack(field: &str, spec: Option<&v1::AttackSpec>) -> Result<Box<dyn Attack>, CallError> {
    let spec = spec.filter(|spec| !spec.name.is_empty());
    let spec =
        spec.ok_or_else(|| CallError::field(format!("{field}.name"), "missing; name an attack of ListAttacks"))?;
    assay_attack::parse(&spec.name, &sorted(&spec.parameters)).map_err(|e| match e {
        ParamError::UnknownAttack { name, .. } => {
            CallError::unknown("attack", &name, assay_attack::attacks().iter().map(|attack| attack.name))
        }
        other => CallError::field(format!("{field}.parameters"), other.to_string()),
    })
}

/// Parameters in order of name: a map of the wire has none, and messages should not depend on chance.
fn sorted(parameters: &HashMap<String, String>) -> Vec<(String, String)> {
    let mut parameters: Vec<_> = parameters.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    parameters.sort();
    parameters
}

/// Whether the work that is planned for one sample is within the limit.
pub(super) fn check_steps(field: &str, steps: u64, limits: &Limits) -> Result<(), CallError> {
    if steps <= limits.max_steps {
        return Ok(());
    }
    Err(CallError::Limit {
        what: format!("{field}: model evaluations of one sample"),
        asked: steps,
        limit: limits.max_steps,
        key: "limits.max_steps",
        remedy: "use fewer steps or restarts",
    })
}
