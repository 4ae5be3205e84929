//! The job that an audit is: started, followed, listed, stopped.

use std::pin::pin;
use std::time::{Duration, Instant};

use assay_proto::v1::watch_audit_response::Event;
use assay_proto::v1::{
    AuditJob, AuditProgress, AuditReport, AuditState, CancelAuditRequest, DeleteAuditRequest, ListAuditsRequest,
    StartAuditRequest, WatchAuditRequest, start_audit_request,
};
use serde_json::json;
use tonic::{Code, Request};

use super::order::Order;
use crate::args::Output;
use crate::commands::Session;
use crate::error::ClientError;
use crate::output::{Verdict, print, print_json, table};
use crate::progress::Progress;

/// How long a call may follow a job that is not told otherwise; servers shorten it.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
/// Pauses between attempts to reach a server that went away: the first, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

/// What is to be followed.
pub(super) enum What {
    Order(Box<Order>),
    /// A job of this id.
    Job(String),
}

/// How a job is followed.
pub(super) struct Followed {
    /// Renderings of the report to ask for.
    pub(super) formats: Vec<i32>,
    /// Whether the server is in this process, and the job stops with it.
    pub(super) here: bool,
    /// Seconds to wait for a server that went away.
    pub(super) reconnect: u64,
}

/// Starts a job, or finds it again.
pub(super) async fn start(session: &mut Session, what: What) -> Result<AuditJob, ClientError> {
    let request = match what {
        What::Order(order) => order.request(),
        What::Job(id) => {
            let what = Some(start_audit_request::What::Job(id));
            StartAuditRequest { what, ..StartAuditRequest::default() }
        }
    };
    let request = session.request(request);
    Ok(session.client.start_audit(request).await?.into_inner())
}

/// Follows a job to its report, also where the server goes away in between.
pub(super) async fn follow(
    session: &mut Session,
    started: AuditJob,
    followed: &Followed,
) -> Result<AuditReport, ClientError> {
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    if !followed.here && matches!(started.state(), AuditState::Queued | AuditState::Running) {
        announce(&started);
    }
    let mut watched = Watched { next_event: 0, progress: Progress::new() };
    let mut away: Option<Instant> = None;
    let mut pause = PAUSES[0];
    loop {
        let before = watched.next_event;
        let ended = tokio::select! {
            ended = watched.through_one_call(session, &started, followed) => ended,
            _ = &mut interrupt => {
                watched.progress.finish();
                return Err(left(&started.id, followed.here));
            }
        };
        let error = match ended {
            Ok(report) => {
                watched.progress.finish();
                return Ok(report);
            }
            Err(error) => error,
        };
        if watched.next_event > before {
            (away, pause) = (None, PAUSES[0]);
        }
        match error.lost(session.timeout.is_none()) {
            Lost::Server(cause) if followed.reconnect > 0 => {
                let since = *away.get_or_insert_with(Instant::now);
                if since.elapsed() >= Duration::from_secs(followed.reconnect) {
                    watched.progress.finish();
                    return Err(ClientError::Away { id: started.id, seconds: followed.reconnect, cause });
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => pause = (2 * pause).min(PAUSES[1]),
                    _ = &mut interrupt => {
                        watched.progress.finish();
                        return Err(left(&started.id, followed.here));
                    }
                }
            }
            // A server has a longest deadline. What it told is not told again.
            Lost::Call => {}
            Lost::Server(_) | Lost::Nothing => {
                watched.progress.finish();
                return Err(error);
            }
        }
    }
}

/// Prints which job was started.
pub(super) fn detached(session: &Session, job: &AuditJob) -> Result<Verdict, ClientError> {
    match session.output {
        Output::Json => print_json(&as_json(job))?,
        Output::Human => print(&job.id)?,
    }
    Ok(Verdict::Pass)
}

/// Lists the jobs.
pub(super) async fn list(session: &mut Session) -> Result<Verdict, ClientError> {
    let request = session.request(ListAuditsRequest {});
    let jobs = session.client.list_audits(request).await?.into_inner().jobs;
    match session.output {
        Output::Json => print_json(&json!({ "jobs": jobs.iter().map(as_json).collect::<Vec<_>>() }))?,
        Output::Human if jobs.is_empty() => print("there are no audits; `assay audit MODEL ...` starts one")?,
        Output::Human => {
            let mut rows = table(&["job", "models", "data", "state", "taken", "ended", ""], &[0]);
            for job in &jobs {
                let said = match job.state() {
                    AuditState::Done => verdict(job).to_owned(),
                    AuditState::Queued if job.position > 0 => format!("place {} in the queue", job.position),
                    _ => job.reason.clone(),
                };
                rows.add_row([
                    &job.id,
                    &models(job).join(", "),
                    &job.data,
                    &state(job),
                    &job.created,
                    &job.ended,
                    &said,
                ]);
            }
            print(&rows)?;
        }
    }
    Ok(Verdict::Pass)
}

/// Stops a job for good.
pub(super) async fn cancel(session: &mut Session, id: &str) -> Result<Verdict, ClientError> {
    let request = session.request(CancelAuditRequest { job: id.to_owned() });
    let job = session.client.cancel_audit(request).await?.into_inner();
    match session.output {
        Output::Json => print_json(&as_json(&job))?,
        Output::Human => print(&format!("job {id} is {}", state(&job)))?,
    }
    Ok(Verdict::Pass)
}

/// Deletes a job that has ended.
pub(super) async fn delete(session: &mut Session, id: &str) -> Result<Verdict, ClientError> {
    let request = session.request(DeleteAuditRequest { job: id.to_owned() });
    session.client.delete_audit(request).await?;
    match session.output {
        Output::Json => print_json(&json!({ "job": id, "deleted": true }))?,
        Output::Human => print(&format!("job {id} is deleted"))?,
    }
    Ok(Verdict::Pass)
}

/// How far a job was followed.
struct Watched {
    /// From where to follow it.
    next_event: u64,
    progress: Progress,
}

impl Watched {
    /// Follows it to the report in one call.
    async fn through_one_call(
        &mut self,
        session: &mut Session,
        started: &AuditJob,
        followed: &Followed,
    ) -> Result<AuditReport, ClientError> {
        let mut request = Request::new(WatchAuditRequest {
            job: started.id.clone(),
            from_event: self.next_event,
            formats: followed.formats.clone(),
        });
        request.set_timeout(session.timeout.unwrap_or(LONGEST));
        let mut stream = session.client.watch_audit(request).await?.into_inner();
        while let Some(answer) = stream.message().await? {
            match answer.event {
                // A server that keeps no jobs counts from the start again.
                Some(Event::Job(job)) if (&job.created, &job.models) != (&started.created, &started.models) => {
                    return Err(ClientError::Environment(format!(
                        "the server was started anew and keeps no jobs (audits.state is unset): its job {} is another one; start the audit again",
                        started.id
                    )));
                }
                Some(Event::Job(_)) | None => {}
                Some(Event::Progress(p)) => self.advance(&p),
                Some(Event::Report(report)) => return Ok(report),
            }
            self.next_event = answer.next_event;
        }
        Err(ClientError::Protocol("the audit ended without a report".into()))
    }

    fn advance(&mut self, p: &AuditProgress) {
        let stage = format!("[{}/{}] {} {}", p.stage_number, p.stages, p.model, p.stage);
        self.progress.update(&stage, p.steps_done, p.steps_total, &format!("{}/{} correct", p.correct, p.samples));
    }
}

/// What an error of a call says of the job that it follows.
enum Lost {
    /// The server went away, and may come back.
    Server(String),
    /// Only the call ended.
    Call,
    /// It is the last word.
    Nothing,
}

impl ClientError {
    /// `endless`: the caller set no time.
    fn lost(&self, endless: bool) -> Lost {
        match self {
            Self::Lost(cause) => Lost::Server(cause.clone()),
            Self::Rpc(status) if status.code() == Code::Unavailable => Lost::Server(status.message().to_owned()),
            Self::Rpc(status) if status.code() == Code::DeadlineExceeded && endless => Lost::Call,
            _ => Lost::Nothing,
        }
    }
}

/// Says how to come back to a job, as soon as there is one.
#[allow(clippy::print_stderr)]
fn announce(job: &AuditJob) {
    let id = &job.id;
    let long = if job.durable { "" } else { ", as long as the server runs" };
    eprintln!(
        "job {id}, {}: it goes on without this command{long}; `assay audit --follow {id}`, `assay audit --cancel {id}`",
        state(job)
    );
}

/// What Ctrl-C does.
fn left(id: &str, here: bool) -> ClientError {
    match here {
        true => ClientError::Environment("stopped; the same command goes on behind what was measured".into()),
        false => ClientError::Left { command: "audit", id: id.to_owned() },
    }
}

fn state(job: &AuditJob) -> String {
    job.state().as_str_name().trim_start_matches("AUDIT_STATE_").to_lowercase()
}

fn verdict(job: &AuditJob) -> &'static str {
    match job.verdict() {
        assay_proto::v1::Verdict::Pass => "pass",
        assay_proto::v1::Verdict::Fail => "fail",
        assay_proto::v1::Verdict::Inconclusive => "inconclusive",
        assay_proto::v1::Verdict::Unreliable => "unreliable",
        assay_proto::v1::Verdict::Unspecified => "",
    }
}

fn models(job: &AuditJob) -> Vec<String> {
    job.models.iter().map(|model| format!("{}/{}", model.model, model.version)).collect()
}

fn as_json(job: &AuditJob) -> serde_json::Value {
    json!({
        "job": job.id,
        "state": state(job),
        "reason": job.reason,
        "verdict": verdict(job),
        "models": models(job),
        "data": job.data,
        "key": job.idempotency_key,
        "events": job.events,
        "position": job.position,
        "created": job.created,
        "started": job.started,
        "ended": job.ended,
        "durable": job.durable,
    })
}
