//! The RPCs of audits.

mod data;
mod quote;
mod start;
mod watch;

use std::sync::Arc;

use assay_audit::{
    Html, Json, Markdown, Render, Report, Verdict,
    job::{self, JobId, ModelDigest, State},
    to_lines,
};
use assay_proto::v1::{
    self, AuditJob, AuditReport, AuditState, CancelAuditRequest, DeleteAuditRequest, DeleteAuditResponse,
    GetAuditRequest, ListAuditsRequest, ListAuditsResponse, RenderedReport, ReportFormat,
};
use tonic::Request;

pub(super) use data::{find_data, upload};
pub(super) use quote::quote;
pub(super) use start::start;
pub(super) use watch::watch;

use crate::{
    audit::{Job, Next, rfc3339},
    call::Call,
    core::Core,
    status::CallError,
};

pub(super) async fn get(core: &Arc<Core>, request: Request<GetAuditRequest>) -> Result<AuditJob, CallError> {
    let caller = Call::of(&request)?.caller();
    let GetAuditRequest { job, formats: wanted } = request.into_inner();
    let formats = formats(&wanted)?;
    let job = core.audits.find(&job, &caller)?;
    let mut told = wire_job(core, &job);
    if told.state() == AuditState::Done {
        told.report = Some(blocking(core, move |core| rendered(core, job.id, &formats)).await?);
    }
    Ok(told)
}

pub(super) fn list(core: &Core, request: &Request<ListAuditsRequest>) -> Result<ListAuditsResponse, CallError> {
    let seen = core.audits.all(&Call::of(request)?.caller());
    Ok(ListAuditsResponse { jobs: seen.iter().map(|job| wire_job(core, job)).collect() })
}

pub(super) async fn cancel(core: &Arc<Core>, request: Request<CancelAuditRequest>) -> Result<AuditJob, CallError> {
    let caller = Call::of(&request)?.caller();
    let id = request.into_inner().job;
    let job = blocking(core, move |core| core.audits.cancel(&id, &caller, &core.metrics)).await?;
    let mut follower = job.follow(0);
    while !matches!(follower.next().await, Next::Ended(_)) {}
    Ok(wire_job(core, &job))
}

pub(super) async fn delete(
    core: &Arc<Core>,
    request: Request<DeleteAuditRequest>,
) -> Result<DeleteAuditResponse, CallError> {
    let caller = Call::of(&request)?.caller();
    let id = request.into_inner().job;
    blocking(core, move |core| core.audits.delete(&id, &caller, &core.metrics)).await?;
    Ok(DeleteAuditResponse {})
}

/// Work with the audits on a thread that may block: they are on the disk.
async fn blocking<T: Send + 'static>(
    core: &Arc<Core>,
    work: impl FnOnce(&Core) -> Result<T, CallError> + Send + 'static,
) -> Result<T, CallError> {
    let core = Arc::clone(core);
    let done = tokio::task::spawn_blocking(move || work(&core)).await;
    done.unwrap_or_else(|e| Err(CallError::Internal(format!("the work ended early: {e}"))))
}

fn wire_job(core: &Core, job: &Job) -> AuditJob {
    let (status, position) = (job.status(), core.audits.position(job));
    let record = status.record;
    let (state, reason, verdict) = match record.state {
        State::Queued => (AuditState::Queued, String::new(), v1::Verdict::Unspecified),
        State::Running => (AuditState::Running, String::new(), v1::Verdict::Unspecified),
        State::Done(verdict) => (AuditState::Done, String::new(), wire_verdict(verdict)),
        State::Failed(reason) => (AuditState::Failed, reason, v1::Verdict::Unspecified),
        State::Cancelled => (AuditState::Cancelled, String::new(), v1::Verdict::Unspecified),
    };
    let models = record.asked.models.iter().map(wire_model);
    AuditJob {
        id: record.id.to_string(),
        state: state.into(),
        reason,
        verdict: verdict.into(),
        models: models.collect(),
        data: record.asked.data.name().to_owned(),
        idempotency_key: record.asked.key.unwrap_or_default(),
        events: status.events,
        position,
        created: rfc3339(record.created),
        started: record.started.map(rfc3339).unwrap_or_default(),
        ended: record.ended.map(rfc3339).unwrap_or_default(),
        durable: core.audits.is_durable(),
        report: None,
        owner: record.asked.owner.unwrap_or_default(),
    }
}

fn wire_model(model: &ModelDigest) -> v1::ModelRef {
    v1::ModelRef { model: model.name.clone(), version: model.version.clone() }
}

fn wire_verdict(verdict: Verdict) -> v1::Verdict {
    match verdict {
        Verdict::Pass => v1::Verdict::Pass,
        Verdict::Fail => v1::Verdict::Fail,
        Verdict::Inconclusive => v1::Verdict::Inconclusive,
        Verdict::Unreliable => v1::Verdict::Unreliable,
    }
}

fn formats(wanted: &[i32]) -> Result<Vec<ReportFormat>, CallError> {
    let format = |(i, &wanted): (usize, &i32)| match ReportFormat::try_from(wanted) {
        Ok(format @ (ReportFormat::Markdown | ReportFormat::Html | ReportFormat::Record)) => Ok(format),
        _ => Err(CallError::field(
            format!("formats[{i}]"),
            format!("expected REPORT_FORMAT_MARKDOWN, REPORT_FORMAT_HTML or REPORT_FORMAT_RECORD, got {wanted}"),
        )),
    };
    wanted.iter().enumerate().map(format).collect()
}

/// The report of an audit that is done. Blocks.
fn rendered(core: &Core, id: JobId, formats: &[ReportFormat]) -> Result<AuditReport, CallError> {
    let failed = |e: String| CallError::Internal(e);
    let events = job::events(core.audits.store(), id).map_err(|e| failed(e.to_string()))?;
    let report = Report::fold(&events).map_err(|e| failed(e.to_string()))?;
    let render = |&format: &ReportFormat| -> Result<RenderedReport, CallError> {
        let text = match format {
            ReportFormat::Html => Html.to_text(&report),
            ReportFormat::Record => to_lines(&events).map_err(|e| failed(e.to_string()))?,
            _ => Markdown.to_text(&report),
        };
        Ok(RenderedReport { format: format.into(), text })
    };
    Ok(AuditReport {
        verdict: wire_verdict(report.verdict).into(),
        json: Json.to_text(&report),
        rendered: formats.iter().map(render).collect::<Result<_, _>>()?,
    })
}
