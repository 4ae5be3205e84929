//! Many callers, few runs: batches are joined while sessions are busy, and shared between sessions that are not.
//!
//! Nobody waits for others unless a delay is configured: a session that becomes free takes all that came meanwhile, as far as it fits
//! into one run. So a model that is asked seldom answers as fast as it can, and one that is asked often works on full runs.

mod queue;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ndarray::{Array2, ArrayView2, s};

use crate::cancel::Listening;
use crate::engine::message;
use crate::native::Interrupt;
use crate::{Cancel, RunError, RunObserver, RunTimes, Ticket};
use queue::{Asked, Part, Queue};

pub(crate) use queue::{WORTH_A_RUN, ranges};

/// What evaluates rows, on the thread that owns it.
pub(crate) trait Runner: Send + 'static {
    /// Logits, `[n, classes]`, of `rows`, `[n, features]` in standard layout, with at least one row and at most those that the batcher was started with.
    fn run(&mut self, rows: ArrayView2<'_, f32>) -> Result<Array2<f32>, RunError>;

    /// What stops the run that goes on.
    fn interrupt(&self) -> Interrupt;

    /// A run failed, other than by what it was given: it may have left this in a state that no other run should meet.
    fn renew(&mut self);
}

/// How batches are joined.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joining {
    /// Values of a sample.
    pub(crate) features: usize,
    /// Logits of a sample.
    pub(crate) classes: usize,
    /// Most rows of one run.
    pub(crate) most: usize,
    /// Whether parts of a batch must have `most` rows, but for the last one: where runs are filled up, others would be wasted.
    pub(crate) full: bool,
    /// Parts of batches that may wait.
    pub(crate) capacity: usize,
    /// How long a run may wait to become full.
    pub(crate) delay: Duration,
}

/// Threads that each own a [`Runner`], behind one queue. Dropping it waits for the runs that have begun and refuses those that wait.
pub(crate) struct Batcher {
    joining: Joining,
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

impl Batcher {
    /// A thread for each of `runners`, no less nice than `nice`.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(crate) fn start<R: Runner>(
        runners: Vec<R>,
        joining: Joining,
        nice: i32,
        observer: Option<&RunObserver>,
    ) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::new(joining.capacity, joining.most, joining.delay));
        let mut batcher = Self { joining, queue, threads: Vec::new() };
        for runner in runners {
            let (queue, observer) = (Arc::clone(&batcher.queue), observer.cloned());
            let worker = Worker { runner, joining, buffer: Vec::new(), observer };
            let serve = move || {
                crate::nice::raise(nice);
                worker.serve(&queue);
            };
            batcher.threads.push(thread::Builder::new().name("assay-session".into()).spawn(serve)?);
        }
        Ok(batcher)
    }

    /// Logits of `rows`. Blocks while the queue is full and until the result is there, or `cancel` is thrown.
    ///
    /// # Errors
    /// A run failed, or the batcher was closed; [`RunError::Cancelled`].
    pub(crate) fn run(&self, rows: Array2<f32>, cancel: &Cancel) -> Result<Array2<f32>, RunError> {
        let (answer, result) = channel();
        // A switch of its own: a part that fails throws it.
        let asked = self.asked(rows, cancel.child(), move |r| drop(answer.send(r)));
        self.queue.push(&asked.0, asked.1);
        drop(asked.0);
        result.recv().unwrap_or(Err(RunError::Unloaded))
    }

    /// [`Batcher::run`] without blocking: `reply` is called exactly once, on a session's thread or at once. [`RunError::Busy`] means that the queue
    /// is full.
    pub(crate) fn submit(
        &self,
        rows: Array2<f32>,
        reply: impl FnOnce(Result<Array2<f32>, RunError>) + Send + 'static,
    ) -> Ticket {
        let cancel = Cancel::default();
        let (asked, ranges) = self.asked(rows, cancel.clone(), reply);
        self.queue.try_push(&asked, ranges);
        Ticket::new(cancel)
    }

    /// Refuses what waits and what comes, as [`RunError::Unloaded`]. Runs that have begun end normally.
    pub(crate) fn close(&self) {
        self.queue.close();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    fn asked(
        &self,
        rows: Array2<f32>,
        cancel: Cancel,
        reply: impl FnOnce(Result<Array2<f32>, RunError>) + Send + 'static,
    ) -> (Arc<Asked>, Vec<Range<usize>>) {
        let rows = if rows.is_standard_layout() { rows } else { rows.as_standard_layout().into_owned() };
        let (n, most) = (rows.nrows(), self.joining.most);
        let ranges = match self.joining.full {
            true => (0..n).step_by(most).map(|from| from..n.min(from + most)).collect(),
            false => ranges(n, most, self.threads.len()),
        };
        (Asked::new(rows, self.joining.classes, cancel, reply), ranges)
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.close();
        for thread in self.threads.drain(..) {
            // A reply may hold the last handle: its thread cannot wait for itself.
            if thread.thread().id() != thread::current().id() {
                // The threads catch panics, so there is nothing to learn from the result.
                drop(thread.join());
            }
        }
    }
}

/// A thread's life.
struct Worker<R> {
    runner: R,
    joining: Joining,
    /// Where rows of several batches come together.
    buffer: Vec<f32>,
    observer: Option<RunObserver>,
}

impl<R: Runner> Worker<R> {
    fn serve(mut self, queue: &Queue) {
        while let Some(parts) = queue.take() {
            self.answer(parts);
        }
    }

    fn answer(&mut self, parts: Vec<Part>) {
        match self.run(&parts) {
            Ok(logits) => {
                let mut from = 0;
                for part in parts {
                    let to = from + part.len();
                    reply(part, Ok(logits.slice(s![from..to, ..])));
                    from = to;
                }
            }
            Err(RunError::Cancelled) => parts.into_iter().for_each(|part| reply(part, Err(RunError::Cancelled))),
            // One caller's rows must not fail another's.
            Err(_) if parts.len() > 1 => {
                for part in parts {
                    let logits = self.run(std::slice::from_ref(&part));
                    reply(part, logits.as_ref().map(|logits| logits.view()).map_err(Clone::clone));
                }
            }
            Err(error) => parts.into_iter().for_each(|part| reply(part, Err(error.clone()))),
        }
    }

    fn run(&mut self, parts: &[Part]) -> Result<Array2<f32>, RunError> {
        let waited = parts.iter().map(Part::waited).max().unwrap_or_default();
        let samples = parts.iter().map(Part::len).sum();
        let began = Instant::now();
        let interrupt = self.runner.interrupt();
        let listening = listen(parts, &interrupt);
        let Self { runner, buffer, joining, .. } = self;
        let run = || match parts {
            [part] => runner.run(part.rows()),
            _ => {
                buffer.clear();
                parts.iter().for_each(|part| buffer.extend(part.rows().iter()));
                let rows = ArrayView2::from_shape((samples, joining.features), buffer);
                runner.run(rows.map_err(|e| RunError::Runtime(e.to_string()))?)
            }
        };
        let result = catch_unwind(AssertUnwindSafe(run))
            .unwrap_or_else(|panic| Err(RunError::Runtime(format!("a run panicked: {}", message(&*panic)))));
        drop(listening);
        if interrupt.was_stopped() && result.is_err() {
            return Err(RunError::Cancelled);
        }
        let result = result.and_then(|logits| {
            let expected = (samples, joining.classes);
            if logits.dim() == expected {
                return Ok(logits);
            }
            Err(RunError::Runtime(format!("logits of shape {:?} for {expected:?}", logits.dim())))
        });
        if let Err(error) = &result {
            tracing::warn!(%error, samples, batches = parts.len(), "a run failed");
            self.runner.renew();
        }
        if let Some(RunObserver(observe)) = &self.observer {
            observe(RunTimes { waited, ran: began.elapsed(), samples, batches: parts.len() });
        }
        result
    }
}

/// Has a run stopped when all whose rows are in it have left.
fn listen(parts: &[Part], interrupt: &Interrupt) -> Vec<Listening> {
    let there = Arc::new(AtomicUsize::new(parts.len()));
    let leaves = |part: &Part| {
        let (there, interrupt, left) = (Arc::clone(&there), interrupt.clone(), AtomicBool::new(false));
        let leave = move || {
            if !left.swap(true, Ordering::SeqCst) && there.fetch_sub(1, Ordering::SeqCst) == 1 {
                interrupt.stop();
            }
        };
        part.cancel().listen(&Arc::new(leave))
    };
    parts.iter().map(leaves).collect()
}

/// Answers a part. What its caller does with that must not end the thread, nor keep others from their answers.
fn reply(part: Part, logits: Result<ArrayView2<'_, f32>, RunError>) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| part.answer(logits))) {
        tracing::error!(panic = message(&*panic), "a reply panicked");
    }
}
