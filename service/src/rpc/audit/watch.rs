//! `WatchAudit`.

use std::{sync::Arc, time::Duration};

use assay_audit::{
    Progress,
    job::{ModelDigest, State},
};
use assay_proto::v1::{
    AuditProgress, ReportFormat, WatchAuditRequest, WatchAuditResponse, watch_audit_response::Event,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};

use super::{blocking, formats, rendered, wire_job};
use crate::{
    audit::{Job, Next},
    call::Call,
    core::Core,
    job::Events,
    status::CallError,
};

/// How long a reader has to take the last event of a call that is cut off.
const FAREWELL: Duration = Duration::from_secs(1);

pub(in crate::rpc) fn watch(
    core: &Arc<Core>,
    request: Request<WatchAuditRequest>,
) -> Result<Events<WatchAuditResponse>, CallError> {
    let call = Call::of(&request)?;
    let WatchAuditRequest { job, from_event, formats: wanted } = request.into_inner();
    let formats = formats(&wanted)?;
    let job = core.audits.find(&job, &call.caller())?;
    let events = job.status().events;
    if from_event > events {
        return Err(CallError::field("from_event", format!("audit {} has {events} events, got {from_event}", job.id)));
    }
    let (tell, stream) = mpsc::channel(1);
    let core = Arc::clone(core);
    tokio::spawn(async move {
        let last = follow(&core, &call, &job, from_event, formats, &tell).await.map_err(Status::from);
        // A reader that does not take it is gone, or has what it needs.
        let _ = tokio::time::timeout(FAREWELL, tell.send(last)).await;
    });
    Ok(ReceiverStream::new(stream))
}

/// Passes on what happens to an audit, until it ends or the call does; gives the last message. The audit knows nothing of it.
async fn follow(
    core: &Arc<Core>,
    call: &Call,
    job: &Arc<Job>,
    from: u64,
    formats: Vec<ReportFormat>,
    tell: &mpsc::Sender<Result<WatchAuditResponse, Status>>,
) -> Result<WatchAuditResponse, CallError> {
    let lifecycle = &core.lifecycle;
    // A server that keeps its audits stops them, and a client comes back when it is there again. Any other one lets them end if there is time.
    let stopping = if core.audits.is_durable() { lifecycle.draining() } else { lifecycle.cut() };
    tokio::select! {
        biased;
        () = call.stop().cancelled() => Err(call.why_stopped()),
        () = stopping.cancelled() => Err(CallError::Draining),
        () = tokio::time::sleep_until(call.deadline()) => {
            Err(CallError::Unfollowed { job: job.id.to_string(), after: call.budget() })
        }
        ended = told(core, job, from, formats, tell) => ended,
    }
}

async fn told(
    core: &Arc<Core>,
    job: &Arc<Job>,
    from: u64,
    formats: Vec<ReportFormat>,
    tell: &mpsc::Sender<Result<WatchAuditResponse, Status>>,
) -> Result<WatchAuditResponse, CallError> {
    let models = job.status().record.asked.models;
    let mut follower = job.follow(from);
    let send = async |event: Event, next_event: u64| {
        let message = WatchAuditResponse { event: Some(event), next_event };
        tell.send(Ok(message)).await.map_err(|_| CallError::Cancelled)
    };
    loop {
        match follower.next().await {
            Next::State(_) => send(Event::Job(wire_job(core, job)), follower.read()).await?,
            Next::Progress(progress) => send(Event::Progress(wire(&models, progress)), follower.read()).await?,
            Next::Events(from) => {
                let id = job.id;
                let read = move |core: &Core| core.audits.store().progress(id, from);
                let read = blocking(core, move |core| read(core).map_err(|e| CallError::Internal(e.to_string())));
                for (seq, progress) in read.await? {
                    send(Event::Progress(wire(&models, progress)), seq + 1).await?;
                }
            }
            Next::Ended(State::Done(_)) => {
                let id = job.id;
                let report = blocking(core, move |core| rendered(core, id, &formats)).await?;
                return Ok(WatchAuditResponse { event: Some(Event::Report(report)), next_event: follower.read() });
            }
            Next::Ended(State::Failed(reason)) => {
                return Err(CallError::Precondition(format!("audit {} failed: {reason}", job.id)));
            }
            Next::Ended(_) => return Err(CallError::AuditCancelled(job.id.to_string())),
        }
    }
}

fn wire(models: &[ModelDigest], progress: Progress) -> AuditProgress {
    let model = usize::try_from(progress.model.0).ok().and_then(|at| models.get(at));
    AuditProgress {
        model: model.map(|model| model.name.clone()).unwrap_or_default(),
        stage: progress.stage,
        stage_number: progress.stage_number,
        stages: progress.stages,
        samples: progress.samples,
        correct: progress.correct,
        steps_done: progress.steps_done,
        steps_total: progress.steps_total,
    }
}
