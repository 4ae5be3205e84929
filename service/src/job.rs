//! A job: long work on a thread of its own, whose progress and result are streamed.
//!
//! The latest progress is kept until the stream's reader is ready for it, so a slow reader never holds up the work, and never misses the result. The work is
//! told to stop when the reader goes away, the deadline passes or the server is cut off.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use assay_attack::Cancel;
use assay_runtime::behind;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::{admission::Permit, call::Call, status::CallError, traces};

/// Events of a job; the last one is its result or why there is none.
pub(crate) type Events<T> = ReceiverStream<Result<T, Status>>;

/// How long a reader has to take the news that its work was stopped.
const FAREWELL: Duration = Duration::from_secs(1);

/// Starts `work` in the place of `permit`, on a thread no less nice than `nice`. It is given where to publish its progress, and a switch to obey.
pub(crate) fn start<T, W>(call: Arc<Call>, permit: Permit, nice: i32, work: W) -> Events<T>
where
    T: Send + 'static,
    W: FnOnce(&Progress<T>, &Cancel) -> Result<T, CallError> + Send + 'static,
{
    let progress = Arc::new(Progress::default());
    let (events, stream) = mpsc::channel(1);
    let cancel = StopOnDrop::default();
    let (published, switch) = (Arc::clone(&progress), cancel.0.clone());
    let span = traces::of_job();
    let work = tokio::task::spawn_blocking(move || {
        // The place is taken for as long as the work goes on, even if nobody waits for it any more.
        let _permit = permit;
        span.in_scope(|| behind(nice, || work(&published, &switch)))
    });
    tokio::spawn(async move {
        let last = follow(&call, work, &progress, &events).await;
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

/// Progress that waits for its reader: the latest.
#[derive(Debug)]
pub(crate) struct Progress<T> {
    latest: Mutex<Option<T>>,
    news: Notify,
}

impl<T> Default for Progress<T> {
    fn default() -> Self {
        Self { latest: Mutex::new(None), news: Notify::new() }
    }
}

impl<T> Progress<T> {
    /// Work goes on; `event` replaces what was not read.
    pub(crate) fn update(&self, event: T) {
        *self.latest() = Some(event);
        self.news.notify_one();
    }

    /// What waits.
    fn take(&self) -> Option<T> {
        self.latest().take()
    }

    fn is_empty(&self) -> bool {
        self.latest().is_none()
    }

    fn latest(&self) -> MutexGuard<'_, Option<T>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops work when whoever follows it ends, in whatever way: a client that goes away drops its call, a runtime that shuts down drops its tasks.
#[derive(Debug, Default)]
pub(crate) struct StopOnDrop(pub(crate) Cancel);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Passes progress on until the work ends or is to stop. What waits when the work ends is passed on before the result.
async fn follow<T>(
    call: &Call,
    mut work: JoinHandle<Result<T, CallError>>,
    progress: &Progress<T>,
    events: &mpsc::Sender<Result<T, Status>>,
) -> Result<T, CallError> {
    let result = loop {
        let news = !progress.is_empty();
        tokio::select! {
            biased;
            () = call.stop().cancelled() => return Err(call.why_stopped()),
            () = tokio::time::sleep_until(call.deadline()) => return Err(call.why_stopped()),
            result = &mut work => {
                break result.unwrap_or_else(|e| Err(CallError::Internal(format!("the work ended early: {e}"))))?;
            }
            slot = events.reserve(), if news => {
                let Ok(slot) = slot else { return Err(call.why_stopped()) };
                if let Some(event) = progress.take() {
                    slot.send(Ok(event));
                }
            }
            () = progress.news.notified(), if !news => {}
        }
    };
    while let Some(event) = progress.take() {
        tokio::select! {
            biased;
            () = call.stop().cancelled() => break,
            taken = events.send(Ok(event)) => if taken.is_err() { break },
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_waits_for_its_reader() {
        let progress = Progress::default();
        (0..1000).for_each(|step| progress.update(step));
        assert_eq!((progress.take(), progress.take()), (Some(999), None));
        assert!(progress.is_empty());
    }
}
