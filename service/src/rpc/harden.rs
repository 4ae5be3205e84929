//! `Harden`, `ListHardens` and `CancelHarden`.

use std::{sync::Arc, time::Duration};

use assay_proto::v1::{
    self, CancelHardenRequest, HardenRequest, HardenResponse, HardenState, ListHardensRequest, ListHardensResponse,
    harden_request::What, harden_response::Event,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};

use crate::{
    call::Call,
    core::Core,
    harden::{Hardens, Job, JobState, Next, State},
    job::Events,
    status::CallError,
};

/// How long a reader has to take the last event of a call that is cut off.
const FAREWELL: Duration = Duration::from_secs(1);

pub(super) async fn harden(
    core: &Arc<Core>,
    request: Request<HardenRequest>,
) -> Result<Events<HardenResponse>, CallError> {
    let call = Call::of(&request)?;
    hardens(core)?;
    let caller = call.caller();
    let what = request.into_inner().what;
    let what = what.ok_or_else(|| CallError::field("what", "missing; give a recipe, or the id of a job"))?;
    let job = blocking(core, move |core, hardens| match what {
        What::Recipe(text) => hardens.submit(core, text, &caller),
        What::Job(id) => hardens.go_on(core, &id, &caller),
    })
    .await?;
    let (events, stream) = mpsc::channel(1);
    let core = Arc::clone(core);
    tokio::spawn(async move {
        let last = follow(&core, &call, &job, &events).await.map_err(Status::from);
        // A reader that does not take it is gone, or has what it needs.
        let _ = tokio::time::timeout(FAREWELL, events.send(last)).await;
    });
    Ok(ReceiverStream::new(stream))
}

pub(super) fn list(core: &Core, request: &Request<ListHardensRequest>) -> Result<ListHardensResponse, CallError> {
    let (hardens, caller) = (hardens(core)?, Call::of(request)?.caller());
    let jobs = hardens.all(&caller).iter().map(|job| wire_job(job)).collect();
    // Whose these are cannot be read either.
    let unreadable = if caller.sees(None) { hardens.unreadable().to_vec() } else { Vec::new() };
    Ok(ListHardensResponse { jobs, unreadable })
}

pub(super) async fn cancel(
    core: &Arc<Core>,
    request: Request<CancelHardenRequest>,
) -> Result<v1::HardenJob, CallError> {
    hardens(core)?;
    let caller = Call::of(&request)?.caller();
    let id = request.into_inner().job;
    if id.is_empty() {
        return Err(CallError::field("job", "missing; give the id of a job of ListHardens"));
    }
    let job = blocking(core, move |core, hardens| hardens.cancel(&id, &caller, &core.metrics)).await?;
    let mut follower = job.follow();
    while let Next::Event(_) = follower.next().await {}
    Ok(wire_job(&job))
}

/// The jobs of this server.
fn hardens(core: &Core) -> Result<&Hardens, CallError> {
    let remedy = "harden.state and harden.data to folders";
    core.hardens.as_ref().ok_or(CallError::Disabled { what: "Harden", remedy })
}

/// Work with the jobs on a thread that may block: they are on the disk.
async fn blocking<T: Send + 'static>(
    core: &Arc<Core>,
    work: impl FnOnce(&Core, &Hardens) -> Result<T, CallError> + Send + 'static,
) -> Result<T, CallError> {
    let core = Arc::clone(core);
    let done = tokio::task::spawn_blocking(move || work(&core, hardens(&core)?)).await;
    done.unwrap_or_else(|e| Err(CallError::Internal(format!("the work ended early: {e}"))))
}

/// Passes on what happens to a job, until it ends or the call does; gives the last event. The job knows nothing of it.
async fn follow(
    core: &Core,
    call: &Call,
    job: &Job,
    events: &mpsc::Sender<Result<HardenResponse, Status>>,
) -> Result<HardenResponse, CallError> {
    let told = async {
        let mut follower = job.follow();
        let mut event = Some(Event::Accepted(wire_job(job)));
        loop {
            if event.is_some() && events.send(Ok(HardenResponse { event })).await.is_err() {
                return Err(CallError::Cancelled);
            }
            event = match follower.next().await {
                Next::Event(event) => Event::of(&event),
                Next::Ended(State::Done(_)) => return Ok(HardenResponse { event: Some(Event::Done(wire_job(job))) }),
                Next::Ended(State::Failed(reason)) => {
                    return Err(CallError::Precondition(format!("job {} failed: {reason}", job.id)));
                }
                Next::Ended(_) => return Err(CallError::Stopped(job.id.to_string())),
            };
        }
    };
    tokio::select! {
        biased;
        () = call.stop().cancelled() => Err(call.why_stopped()),
        // Nobody has to wait for it: the job goes on when the server does.
        () = core.lifecycle.draining().cancelled() => Err(CallError::Draining),
        () = tokio::time::sleep_until(call.deadline()) => {
            Err(CallError::Unfollowed { job: job.id.to_string(), after: call.budget() })
        }
        ended = told => ended,
    }
}

fn wire_job(job: &Job) -> v1::HardenJob {
    let status = job.status();
    let state = match status.state.kind() {
        JobState::Queued => HardenState::Queued,
        JobState::Running => HardenState::Running,
        JobState::Stopped => HardenState::Stopped,
        JobState::Failed => HardenState::Failed,
        JobState::Done => HardenState::Done,
    };
    let [epochs_done, epochs] = status.epochs;
    let (reason, version, digest) = match status.state {
        State::Failed(reason) => (reason, String::new(), String::new()),
        State::Done(made) => (String::new(), made.version.to_string(), made.digest),
        _ => Default::default(),
    };
    v1::HardenJob {
        id: job.id.to_string(),
        name: job.recipe.name.clone(),
        recipe: job.digest.clone(),
        state: state.into(),
        reason,
        epochs_done,
        epochs,
        waiting: status.waiting,
        version,
        digest,
        owner: job.owner.clone().unwrap_or_default(),
    }
}
