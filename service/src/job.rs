//! A job: long work on a thread of its own, whose progress and result are streamed.
//!
//! The stream takes the latest progress when its reader is ready for it, so a slow reader never holds up the work and never
//! misses the result. The work is told to stop when the reader goes away, the deadline passes or the server is cut off.

use std::{sync::Arc, time::Duration};

use assay_attack::Cancel;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::{admission::Permit, call::Call, status::CallError};

/// Events of a job; the last one is its result or why there is none.
pub(crate) type Events<T> = ReceiverStream<Result<T, Status>>;

/// How long a reader has to take the news that its work was stopped.
const FAREWELL: Duration = Duration::from_secs(1);

/// Starts `work` in the place of `permit`. It is given a function that publishes progress, and a switch to obey.
pub(crate) fn start<T, W>(call: Arc<Call>, permit: Permit, work: W) -> Events<T>
where
    T: Clone + Send + Sync + 'static,
    W: FnOnce(&dyn Fn(T), &Cancel) -> Result<T, CallError> + Send + 'static,
{
    let (publish, latest) = watch::channel(None);
    let (events, stream) = mpsc::channel(1);
    let cancel = StopOnDrop(Cancel::default());
    let switch = cancel.0.clone();
    let work = tokio::task::spawn_blocking(move || {
        // The place is taken for as long as the work goes on, even if nobody waits for it any more.
        let _permit = permit;
        work(&|progress| drop(publish.send_replace(Some(progress))), &switch)
    });
    tokio::spawn(async move {
        let last = follow(&call, work, latest, &events).await;
        drop(cancel);
        let last = last.map_err(Status::from);
        let taken = events.send(last);
        tokio::select! {
            biased;
            _ = taken => {}
            () = async { call.stop().cancelled().await; tokio::time::sleep(FAREWELL).await } => {}
        }
    });
    ReceiverStream::new(stream)
}

/// Stops the work when whoever follows it ends, in whatever way: a runtime that shuts down drops its tasks.
struct StopOnDrop(Cancel);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Passes progress on until the work ends or is to stop.
async fn follow<T: Clone>(
    call: &Call,
    mut work: JoinHandle<Result<T, CallError>>,
    mut latest: watch::Receiver<Option<T>>,
    events: &mpsc::Sender<Result<T, Status>>,
) -> Result<T, CallError> {
    let (mut news, mut working) = (false, true);
    loop {
        tokio::select! {
            biased;
            () = call.stop().cancelled() => return Err(call.why_stopped()),
            () = tokio::time::sleep_until(call.deadline()) => return Err(call.why_stopped()),
            result = &mut work => {
                return result.unwrap_or_else(|e| Err(CallError::Internal(format!("the work ended early: {e}"))));
            }
            slot = events.reserve(), if news => {
                let Ok(slot) = slot else { return Err(call.why_stopped()) };
                if let Some(progress) = latest.borrow_and_update().clone() {
                    slot.send(Ok(progress));
                }
                news = false;
            }
            changed = latest.changed(), if working && !news => match changed {
                Ok(()) => news = true,
                Err(_) => working = false,
            },
        }
    }
}
