//! The job that an audit is: started, followed, listed, stopped.

use std::time::{Duration, Instant};

use assay_proto::v1::watch_audit_response::Event;
use assay_proto::v1::{
    AuditJob, AuditProgress, AuditQuote, AuditReport, AuditState, CancelAuditRequest, DeleteAuditRequest,
    ListAuditsRequest, StartAuditRequest, WatchAuditRequest, start_audit_request,
};
use indicatif::HumanCount;
use serde_json::json;
use tonic::{Code, Request};

use super::left::Left;
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
    /// What the job was said to cost before it was made; `None` where it goes on, or nobody asked.
    pub(super) quote: Option<AuditQuote>,
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

/// Follows a job to its report; Ctrl-C leaves it to the server.
pub(super) async fn follow(
    session: &mut Session,
    started: AuditJob,
    followed: &Followed,
) -> Result<AuditReport, ClientError> {
    if !followed.here && matches!(started.state(), AuditState::Queued | AuditState::Running) {
        announce(&started);
    }
    let in_all = followed.quote.as_ref().and_then(Left::of);
    let mut shown = Shown { progress: Progress::new(), in_all, stage: None };
    let mut advance = |p: &AuditProgress, told_again: bool| shown.advance(p, told_again);
    let report = tokio::select! {
        report = report(session, &started, followed, &mut advance) => report,
        _ = tokio::signal::ctrl_c() => Err(left(&started.id, followed.here)),
    };
    shown.progress.finish();
    report
}

/// The report of a job, also where the server goes away in between; `advance` is told how far it is, and whether that was so before it was
/// started.
pub(super) async fn report(
    session: &mut Session,
    started: &AuditJob,
    followed: &Followed,
    advance: &mut (impl FnMut(&AuditProgress, bool) + Send),
) -> Result<AuditReport, ClientError> {
    let mut next_event = 0;
    let mut patience = Patience::new(followed.reconnect);
    loop {
        let before = next_event;
        let error = match through_one_call(session, started, followed, &mut next_event, advance).await {
            Ok(report) => return Ok(report),
            Err(error) => error,
        };
        if next_event > before {
            patience = Patience::new(followed.reconnect);
        }
        match &error {
            // A server has a longest deadline. What it told is not told again.
            ClientError::Rpc(status) if status.code() == Code::DeadlineExceeded && session.timeout.is_none() => {}
            _ => patience.bear(error, &started.id).await?,
        }
    }
}

/// How long a server that went away is waited for.
pub(super) struct Patience {
    seconds: u64,
    since: Option<Instant>,
    pause: Duration,
}

impl Patience {
    pub(super) fn new(seconds: u64) -> Self {
        Self { seconds, since: None, pause: PAUSES[0] }
    }

    /// Waits a while, then what failed may be tried again; `job` is what it was about.
    ///
    /// # Errors
    /// The server is not away, or was away for long enough.
    pub(super) async fn bear(&mut self, error: ClientError, job: &str) -> Result<(), ClientError> {
        let Some(cause) = error.away().filter(|_| self.seconds > 0) else { return Err(error) };
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= Duration::from_secs(self.seconds) {
            return Err(ClientError::Away { id: job.to_owned(), seconds: self.seconds, cause });
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (2 * self.pause).min(PAUSES[1]);
        Ok(())
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
    let jobs = all(session).await?;
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

/// The jobs of the server.
pub(super) async fn all(session: &mut Session) -> Result<Vec<AuditJob>, ClientError> {
    let request = session.request(ListAuditsRequest {});
    Ok(session.client.list_audits(request).await?.into_inner().jobs)
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

/// Follows a job to its report in one call, from event `next_event` on, which is moved behind what was told.
async fn through_one_call(
    session: &mut Session,
    started: &AuditJob,
    followed: &Followed,
    next_event: &mut u64,
    advance: &mut (impl FnMut(&AuditProgress, bool) + Send),
) -> Result<AuditReport, ClientError> {
    let mut request = Request::new(WatchAuditRequest {
        job: started.id.clone(),
        from_event: *next_event,
        formats: followed.formats.clone(),
    });
    request.set_timeout(session.timeout.unwrap_or(LONGEST));
    // A server that keeps no jobs counts from the start again.
    let forgotten = || ClientError::Forgotten { id: started.id.clone() };
    let mut stream = match session.client.watch_audit(request).await {
        Ok(answer) => answer.into_inner(),
        // What it has instead may also have fewer events.
        Err(status) if !started.durable && matches!(status.code(), Code::NotFound | Code::InvalidArgument) => {
            return Err(forgotten());
        }
        Err(status) => return Err(status.into()),
    };
    while let Some(answer) = stream.message().await? {
        match answer.event {
            Some(Event::Job(job)) if (&job.created, &job.models) != (&started.created, &started.models) => {
                return Err(forgotten());
            }
            Some(Event::Job(_)) | None => {}
            Some(Event::Progress(p)) => advance(&p, answer.next_event <= started.events),
            Some(Event::Report(report)) => return Ok(report),
        }
        *next_event = answer.next_event;
    }
    Err(ClientError::Protocol("the audit ended without a report".into()))
}

/// How far a job is, for whoever waits for it.
struct Shown {
    progress: Progress,
    /// What is known of the time that is left in all.
    in_all: Option<Left>,
    /// Number of the stage, and when it was first told of with so many steps done.
    stage: Option<(u32, Instant, u64)>,
}

impl Shown {
    /// `told_again`: it is what was measured before this command, and says nothing of the rate.
    fn advance(&mut self, p: &AuditProgress, told_again: bool) {
        let now = Instant::now();
        let stage = format!("[{}/{}] {} {}", p.stage_number, p.stages, p.model, p.stage);
        if told_again {
            self.stage = None;
        }
        let message = format!("{}/{} {}{}", p.correct, p.samples, counted(p), self.rate(p, now));
        self.progress.update(&stage, p.steps_done, p.steps_total, &message);
        let share = p.steps_done as f64 / p.steps_total.max(1) as f64;
        self.progress.left_in_all(self.in_all.as_mut().and_then(|left| left.at(p.stage_number, share, now)));
    }

    /// Steps in a second since the stage was first told of; empty where none were made.
    fn rate(&mut self, p: &AuditProgress, now: Instant) -> String {
        let (_, since, before) = match self.stage {
            Some(stage @ (number, ..)) if number == p.stage_number => stage,
            _ => *self.stage.insert((p.stage_number, now, p.steps_done)),
        };
        let (steps, seconds) = (p.steps_done.saturating_sub(before), now.duration_since(since).as_secs_f64());
        if steps == 0 || seconds <= 0.0 {
            return String::new();
        }
        format!(", {} steps/s", HumanCount((steps as f64 / seconds) as u64))
    }
}

/// What the samples are that a stage counts.
pub(in crate::commands::audit) fn counted(p: &AuditProgress) -> &'static str {
    if p.stage.starts_with("certify ") { "certified" } else { "correct" }
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
        "owner": job.owner,
    })
}
