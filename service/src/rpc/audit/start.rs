//! `StartAudit`.

use std::sync::Arc;

use assay_audit::{Baseline, Plan, PlanError, PlanFileError, job::DataRef};
use assay_proto::v1::{AuditJob, AuditRequest, StartAuditRequest, UploadedData, start_audit_request::What};
use tonic::Request;

use super::{blocking, wire_job};
use crate::{
    audit::{Taken, Wanted},
    call::Call,
    core::Core,
    rpc::request::check_steps,
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
    let key = key(idempotency_key)?;
    let what = what.ok_or_else(|| CallError::field("what", "missing; give an audit, or the id of one"))?;
    let taken = match what {
        What::Audit(audit) => {
            let wanted = Wanted { key, join, ..wanted(core, &call, audit)? };
            blocking(core, move |core| core.audits.start(core, wanted)).await?
        }
        What::Job(id) => {
            let caller = call.caller();
            let job = blocking(core, move |core| core.audits.go_on(core, &id, &caller)).await?;
            Taken { job, samples: None }
        }
    };
    if let Some(samples) = taken.samples {
        call.samples(samples);
    }
    Ok(wire_job(core, &taken.job))
}

/// The key that is given, if one is.
pub(super) fn key(given: String) -> Result<Option<String>, CallError> {
    match given.len() {
        0 => Ok(None),
        1..=LONGEST_KEY => Ok(Some(given)),
        got => Err(CallError::field("idempotency_key", format!("expected at most {LONGEST_KEY} bytes, got {got}"))),
    }
}

/// What is asked for: models may have no version.
pub(super) fn wanted(core: &Core, call: &Call, audit: AuditRequest) -> Result<Wanted, CallError> {
    let AuditRequest { plan: text, uploaded, shard, baseline } = audit;
    let plan = Plan::parse(&text).map_err(wrong_plan)?;
    let baseline: Option<Baseline> = match baseline.as_str() {
        "" => None,
        json => Some(serde_json::from_str(json).map_err(|e| CallError::field("baseline", e.to_string()))?),
    };
    plan.check_compared(baseline.is_some()).map_err(|error| wrong_plan(PlanFileError::at(&text, error)))?;
    for (i, model) in plan.models.iter().enumerate() {
        core.repository.model(&format!("models[{i}].name"), &model.name)?;
    }
    // The first model stands for the audit in logs and metrics.
    call.about(plan.models.first().map_or("", |model| &model.name));
    let quoted = plan.quote().map_err(|error| wrong_plan(PlanFileError::at(&text, error)))?;
    let steps = quoted.iter().fold(0_u64, |steps, stage| steps.saturating_add(stage.steps));
    check_steps("evaluations", steps, &core.config.limits)?;
    let shard = match shard.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|reason: String| CallError::field("shard", reason))?),
    };
    let data = match (uploaded, plan.data.as_ref().and_then(|data| data.dataset.clone())) {
        (Some(UploadedData { content, name, digest, positions }), _) => {
            DataRef::Uploaded { content, name, digest, positions }
        }
        (None, Some(name)) => DataRef::Registered { name },
        (None, None) => {
            let reason = "names no data set of the server; give data.dataset, or upload samples and say which";
            return Err(CallError::field("plan", reason));
        }
    };
    Ok(Wanted { caller: call.caller(), key: None, join: false, plan, data, shard, baseline })
}

fn wrong_plan(PlanFileError { line, error }: PlanFileError) -> CallError {
    let line = line.map_or_else(String::new, |line| format!(" (line {line} of the plan)"));
    match error {
        PlanError::Field { field, reason } => CallError::field(field, format!("{reason}{line}")),
        other => CallError::field("plan", format!("{other}{line}")),
    }
}
