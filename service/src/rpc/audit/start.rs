//! `StartAudit`.

use std::sync::Arc;

use assay_audit::{AttackSpec, Gate, ModelRef, Plan, PlanError, job::DataRef};
use assay_proto::v1::{
    self, AuditJob, AuditRequest, StartAuditRequest, audit_request::Data as WireData, gate::Condition,
    start_audit_request::What,
};
use tonic::Request;

use super::{blocking, wire_job};
use crate::{
    audit::{Taken, Wanted},
    call::Call,
    core::Core,
    rpc::request::{attack, check_steps, norm_and_eps, sorted},
    status::CallError,
};

/// Most bytes of an idempotency key.
const LONGEST_KEY: usize = 256;

pub(in crate::rpc) async fn start(
    core: &Arc<Core>,
    request: Request<StartAuditRequest>,
) -> Result<AuditJob, CallError> {
    let call = Call::of(&request)?;
    let StartAuditRequest { what, idempotency_key, join } = request.into_inner();
    if idempotency_key.len() > LONGEST_KEY {
        let got = idempotency_key.len();
        return Err(CallError::field("idempotency_key", format!("expected at most {LONGEST_KEY} bytes, got {got}")));
    }
    let what = what.ok_or_else(|| CallError::field("what", "missing; give an audit, or the id of one"))?;
    let taken = match what {
        What::Audit(audit) => {
            let key = Some(idempotency_key).filter(|key| !key.is_empty());
            let wanted = Wanted { key, join, plan: plan(core, &call, &audit)?, data: data(audit.data)? };
            blocking(core, move |core| core.audits.start(core, wanted)).await?
        }
        What::Job(id) => {
            let job = blocking(core, move |core| core.audits.go_on(&id, &core.metrics)).await?;
            Taken { job, samples: None }
        }
    };
    if let Some(samples) = taken.samples {
        call.samples(samples);
    }
    Ok(wire_job(core, &taken.job))
}

/// The plan as it was asked for: models may have no version.
fn plan(core: &Core, call: &Call, request: &AuditRequest) -> Result<Plan, CallError> {
    let models = models(core, call, &request.models)?;
    let mut steps = 0_u64;
    let mut evaluations = Vec::with_capacity(request.evaluations.len());
    for (i, evaluation) in request.evaluations.iter().enumerate() {
        let (norm, eps) = norm_and_eps(&format!("evaluations[{i}].threat"), evaluation.threat.as_ref())?;
        for (j, spec) in evaluation.attacks.iter().enumerate() {
            let attack = attack(&format!("evaluations[{i}].attacks[{j}]"), Some(spec))?;
            steps = steps.saturating_add(attack.evaluations());
        }
        let attacks = evaluation.attacks.iter().map(|spec| AttackSpec {
            name: spec.name.clone(),
            parameters: sorted(&spec.parameters).into_iter().collect(),
        });
        evaluations.push(assay_audit::Evaluation { norm, eps, attacks: attacks.collect() });
    }
    check_steps("evaluations", steps, &core.config.limits)?;
    let gates = request.gates.iter().enumerate().map(|(i, gate)| match gate.condition {
        Some(Condition::MinRobustAccuracy(least)) => Ok(Gate::MinRobustAccuracy(least)),
        Some(Condition::MaxDrop(most)) => Ok(Gate::MaxDrop(most)),
        Some(Condition::MinCleanAccuracy(least)) => Ok(Gate::MinCleanAccuracy(least)),
        None => Err(CallError::field(format!("gates[{i}]"), "missing; give a condition")),
    });
    let plan = Plan { models, evaluations, gates: gates.collect::<Result<_, _>>()?, seed: request.seed };
    plan.check().map_err(wrong_plan)?;
    Ok(plan)
}

fn models(core: &Core, call: &Call, models: &[v1::ModelRef]) -> Result<Vec<ModelRef>, CallError> {
    if !(1..=2).contains(&models.len()) {
        return Err(CallError::field("models", format!("expected 1 or 2 models, got {}", models.len())));
    }
    for (i, wanted) in models.iter().enumerate() {
        core.repository.model(&format!("models[{i}].model"), &wanted.model)?;
    }
    // The first model stands for the audit in logs and metrics.
    call.about(&models[0].model);
    let model = |wanted: &v1::ModelRef| ModelRef { name: wanted.model.clone(), version: wanted.version.clone() };
    Ok(models.iter().map(model).collect())
}

fn data(data: Option<WireData>) -> Result<DataRef, CallError> {
    match data {
        None => Err(CallError::field("data", "missing; name a registered data set, or samples that were uploaded")),
        Some(WireData::Registered(v1::RegisteredData { name, samples })) => Ok(DataRef::Registered { name, samples }),
        Some(WireData::Uploaded(v1::UploadedData { content, name, digest })) => {
            Ok(DataRef::Uploaded { content, name, digest })
        }
    }
}

fn wrong_plan(error: PlanError) -> CallError {
    match error {
        PlanError::Field { field, reason } => CallError::field(field, reason),
        other => CallError::field("evaluations", other.to_string()),
    }
}
