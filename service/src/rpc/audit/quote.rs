//! `QuoteAudit`.

use std::sync::Arc;

use assay_audit::{Pace, StageQuote};
use assay_proto::v1::{self, AuditQuote, ModelPace, QuoteAuditRequest};
use tonic::Request;

use super::{
    blocking,
    start::{key, wanted},
    wire_model,
};
use crate::{
    audit::{Quoted, Wanted},
    call::Call,
    core::Core,
    job::StopOnDrop,
    status::CallError,
};

pub(in crate::rpc) async fn quote(
    core: &Arc<Core>,
    request: Request<QuoteAuditRequest>,
) -> Result<AuditQuote, CallError> {
    let call = Call::of(&request)?;
    let QuoteAuditRequest { audit, samples, idempotency_key, join } = request.into_inner();
    let key = key(idempotency_key)?;
    let audit = audit.ok_or_else(|| CallError::field("audit", "missing; give what StartAudit would be given"))?;
    let wanted = Wanted { key, join, ..wanted(core, &call, audit)? };
    // Whoever drops this future ends the timing.
    let stop = StopOnDrop::default();
    let cancel = stop.0.clone();
    blocking(core, move |core| core.audits.quote(core, wanted, samples, &cancel)).await.map(|quoted| wire(&quoted))
}

fn wire(quoted: &Quoted) -> AuditQuote {
    let stages: Vec<v1::StageQuote> = quoted.quote.stages.iter().map(|stage| wire_stage(quoted, stage)).collect();
    let paces = quoted.models.iter().zip(&quoted.paces).map(|(model, pace)| ModelPace {
        model: Some(wire_model(model)),
        query_seconds: pace.query,
        gradient_seconds: pace.gradient,
    });
    AuditQuote {
        job: quoted.job.map(|job| job.to_string()).unwrap_or_default(),
        samples: quoted.quote.samples,
        seconds: stages.iter().map(|stage| stage.seconds).sum(),
        stages,
        worst_case: Some(quoted.quote.cost().into()),
        models: paces.collect(),
        untimed: quoted.untimed.clone(),
    }
}

fn wire_stage(quoted: &Quoted, stage: &StageQuote) -> v1::StageQuote {
    let model = stage.model.0 as usize;
    let (threat, attack) = stage.attack.clone().unwrap_or_default();
    v1::StageQuote {
        model: quoted.models.get(model).map(wire_model),
        stage: stage.stage.clone(),
        threat,
        attack: attack.to_owned(),
        worst_case: Some(stage.cost.into()),
        seconds: quoted
            .paces
            .get(model)
            .filter(|_| stage.certificates == 0)
            .and_then(|pace: &Pace| pace.seconds(stage.cost)),
        certificates: stage.certificates,
    }
}
