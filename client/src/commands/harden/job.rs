//! Jobs of a server: started, followed, listed, stopped.

use std::pin::pin;
use std::time::Duration;

use assay_proto::v1::harden_request::What;
use assay_proto::v1::harden_response::Event;
use assay_proto::v1::{CancelHardenRequest, HardenJob, HardenRequest, HardenResponse, HardenState, ListHardensRequest};
use serde_json::json;
use tonic::{Code, Request, Streaming};

use super::shown::Shown;
use crate::args::Output;
use crate::commands::Session;
use crate::error::ClientError;
use crate::output::{Verdict, print, print_json, table};

/// How long a call may follow a job that is not told otherwise; servers shorten it.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// Follows a job to its model. `here`: the server is in this process, and the job stops with it.
pub(super) async fn follow(session: &mut Session, what: What, here: bool) -> Result<Verdict, ClientError> {
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    let (mut stream, accepted) = tokio::select! {
        begun = begin(session, what) => begun?,
        _ = &mut interrupt => return Err(ClientError::Interrupted),
    };
    let mut shown = Shown::new();
    if !here && matches!(accepted.state(), HardenState::Queued | HardenState::Running) {
        announce(&accepted);
    }
    let id = accepted.id;
    let done = loop {
        let event = tokio::select! {
            event = next(&mut stream) => event,
            _ = &mut interrupt => {
                shown.finish();
                return Err(left(session, &id, here).await);
            }
        };
        match event {
            Ok(Event::Done(job)) => break job,
            Ok(event) => shown.event(event),
            // A server has a longest deadline. What it told is told again.
            Err(ClientError::Rpc(status)) if status.code() == Code::DeadlineExceeded && session.timeout.is_none() => {
                (stream, _) = begin(session, What::Job(id.clone())).await?;
                shown.restart();
            }
            Err(error) => {
                shown.finish();
                return Err(error);
            }
        }
    };
    shown.finish();
    match session.output {
        Output::Json => {
            let mut said = as_json(&done);
            said["changes"] = shown.changes();
            said["epochs"] = shown.epochs();
            print_json(&said)?;
        }
        Output::Human => {
            shown.print()?;
            print(&format!("{}/{} is in the repository, SHA-256 {}", done.name, done.version, done.digest))?;
        }
    }
    Ok(Verdict::Pass)
}

/// Lists the jobs.
pub(super) async fn list(session: &mut Session) -> Result<Verdict, ClientError> {
    let request = session.request(ListHardensRequest {});
    let answer = session.client.list_hardens(request).await?.into_inner();
    match session.output {
        Output::Json => {
            let jobs: Vec<_> = answer.jobs.iter().map(as_json).collect();
            print_json(&json!({ "jobs": jobs, "unreadable": answer.unreadable }))?;
        }
        Output::Human => {
            if answer.jobs.is_empty() {
                print("there are no jobs; `assay harden RECIPE` starts one")?;
            } else {
                let mut rows = table(&["job", "model", "state", "epochs", ""], &[0, 3]);
                for job in &answer.jobs {
                    let made = match job.state() {
                        HardenState::Done => format!("version {}", job.version),
                        _ if job.waiting => "waits while calls are being worked on".to_owned(),
                        _ => job.reason.clone(),
                    };
                    let epochs = format!("{}/{}", job.epochs_done, job.epochs);
                    rows.add_row([&job.id, &job.name, &state(job), &epochs, &made]);
                }
                print(&rows)?;
            }
            for reason in &answer.unreadable {
                print(&format!("cannot be read: {reason}"))?;
            }
        }
    }
    Ok(Verdict::Pass)
}

/// Stops a job.
pub(super) async fn cancel(session: &mut Session, id: &str) -> Result<Verdict, ClientError> {
    let request = session.request(CancelHardenRequest { job: id.to_owned() });
    let job = session.client.cancel_harden(request).await?.into_inner();
    match session.output {
        Output::Json => print_json(&as_json(&job))?,
        Output::Human => print(&format!("job {id} is {}", state(&job)))?,
    }
    Ok(Verdict::Pass)
}

/// Asks for a job, and reads which one it is.
async fn begin(session: &mut Session, what: What) -> Result<(Streaming<HardenResponse>, HardenJob), ClientError> {
    let mut request = Request::new(HardenRequest { what: Some(what) });
    request.set_timeout(session.timeout.unwrap_or(LONGEST));
    let mut stream = session.client.harden(request).await?.into_inner();
    match next(&mut stream).await? {
        Event::Accepted(job) => Ok((stream, job)),
        _ => Err(ClientError::Protocol("a stream that does not begin with its job".into())),
    }
}

async fn next(stream: &mut Streaming<HardenResponse>) -> Result<Event, ClientError> {
    let answer = stream.message().await?;
    answer.and_then(|answer| answer.event).ok_or_else(|| ClientError::Protocol("a job ended without a model".into()))
}

/// Says how to come back to a job, as soon as there is one.
#[allow(clippy::print_stderr)]
fn announce(job: &HardenJob) {
    let id = &job.id;
    eprintln!(
        "job {id}, {}: it goes on without this command; `assay harden --follow {id}`, `assay harden --cancel {id}`",
        state(job)
    );
}

/// What Ctrl-C does.
async fn left(session: &mut Session, id: &str, here: bool) -> ClientError {
    if !here {
        return ClientError::Left { command: "harden", id: id.to_owned() };
    }
    let request = session.request(CancelHardenRequest { job: id.to_owned() });
    match session.client.cancel_harden(request).await {
        Ok(_) => {
            ClientError::Environment("stopped; the same command goes on after the epoch that was finished last".into())
        }
        Err(status) => status.into(),
    }
}

fn state(job: &HardenJob) -> String {
    job.state().as_str_name().trim_start_matches("HARDEN_STATE_").to_lowercase()
}

fn as_json(job: &HardenJob) -> serde_json::Value {
    json!({
        "job": job.id,
        "model": job.name,
        "recipe": job.recipe,
        "state": state(job),
        "reason": job.reason,
        "epochs_done": job.epochs_done,
        "epochs_in_all": job.epochs,
        "waiting": job.waiting,
        "version": job.version,
        "digest": job.digest,
        "owner": job.owner,
    })
}
