//! An engine: sessions of one model, each owned by a thread, behind one bounded queue.
//!
//! ONNX Runtime's `Run` needs the session for itself, so a session never leaves its thread. Whoever waits gets an answer in
//! every case: a panic or a failed run is an error to the caller, and what still waits when the engine closes is
//! [`RunError::Unloaded`].

use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::native::{Interrupt, Session};
use crate::session::{self, SessionError, SessionSettings, Source, Tensors};
use crate::{Cancel, OnnxRuntime, Provider, RunError, gpu};

/// How an engine runs a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// What to run on.
    pub provider: Provider,
    /// Whether to run on the processor when `provider` is not available. Without it that is an error.
    pub fallback: bool,
    /// Sessions of the model, each on a thread of its own and with weights of its own, as its kernels pack them.
    pub sessions: NonZeroUsize,
    /// Threads that a session computes one operator with on the processor. `None`: the processors of this process divided by `sessions`;
    /// 1 where it runs on a GPU.
    pub intra_threads: Option<NonZeroUsize>,
    /// Whether those threads spin while they wait for work: faster when the model is always busy, wasteful otherwise.
    pub spinning: bool,
    /// Runs that may wait for a session.
    pub queue: NonZeroUsize,
    /// Least niceness of the threads that run the sessions, 0 to 19. Default 0: that of whoever starts them.
    pub nice: i32,
    /// Told how long each run took. Default: nobody.
    pub observer: Option<RunObserver>,
}

/// What a run was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunTimes {
    /// How long the first batch of it waited for a session.
    pub waited: Duration,
    /// How long it was in the model.
    pub ran: Duration,
    /// Samples that were evaluated, without those that filled it up.
    pub samples: usize,
    /// Batches of callers that they were of, in whole or in part.
    pub batches: usize,
}

/// Called on a session's thread after each run; it should be quick. Clones share it, and are equal.
#[derive(Clone)]
pub struct RunObserver(pub(crate) Arc<dyn Fn(RunTimes) + Send + Sync>);

impl RunObserver {
    /// An observer that calls `observe`.
    pub fn new(observe: impl Fn(RunTimes) + Send + Sync + 'static) -> Self {
        Self(Arc::new(observe))
    }
}

impl PartialEq for RunObserver {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for RunObserver {}

impl fmt::Debug for RunObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunObserver")
    }
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            provider: Provider::Cpu,
            fallback: false,
            sessions: NonZeroUsize::MIN,
            intra_threads: None,
            spinning: false,
            queue: NonZeroUsize::MIN.saturating_add(255),
            nice: 0,
            observer: None,
        }
    }
}

impl EngineOptions {
    /// As many sessions of one thread as these sessions have threads together.
    pub(crate) fn lanes(&self) -> Self {
        let sessions = self.sessions.saturating_mul(self.threads(self.provider));
        Self { sessions, intra_threads: Some(NonZeroUsize::MIN), ..self.clone() }
    }

    /// Threads of each session on `provider`.
    pub(crate) fn threads(&self, provider: Provider) -> NonZeroUsize {
        self.intra_threads.unwrap_or_else(|| {
            if provider != Provider::Cpu {
                return NonZeroUsize::MIN;
            }
            let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
            NonZeroUsize::new(processors.get() / self.sessions).unwrap_or(NonZeroUsize::MIN)
        })
    }
}

/// Sessions of one model, ready to run. Dropping it waits for the runs that have begun and refuses those that wait.
#[derive(Debug)]
pub struct Engine {
    provider: Provider,
    closed: Arc<AtomicBool>,
    /// `None` only while it is dropped.
    queue: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

/// A run that was submitted. Dropping it takes the run out of the queue if it still waits there.
#[derive(Debug)]
#[must_use = "dropping it cancels the run"]
pub struct Ticket {
    cancel: Cancel,
}

impl Ticket {
    /// Of runs that wait until they are stopped by `cancel`.
    pub(crate) fn new(cancel: Cancel) -> Self {
        Self { cancel }
    }

    /// Of what is answered already.
    pub(crate) fn done() -> Self {
        Self { cancel: Cancel::default() }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// One run that waits for a session.
struct Job {
    since: Instant,
    inputs: Tensors,
    cancel: Cancel,
    reply: Reply,
}

impl Job {
    /// Waiting from now on.
    fn new(inputs: Tensors, cancel: Cancel, reply: impl FnOnce(Result<Tensors, RunError>) + Send + 'static) -> Self {
        Self { since: Instant::now(), inputs, cancel, reply: Reply(Some(Box::new(reply))) }
    }
}

/// Calls back exactly once: a run that is dropped unanswered answers that the model was unloaded.
struct Reply(Option<Callback>);

type Callback = Box<dyn FnOnce(Result<Tensors, RunError>) + Send>;

impl Reply {
    fn send(mut self, result: Result<Tensors, RunError>) {
        if let Some(callback) = self.0.take() {
            callback(result);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(callback) = self.0.take() {
            callback(Err(RunError::Unloaded));
        }
    }
}

impl Engine {
    /// Opens sessions of the model in `bytes`, the content of an ONNX file.
    ///
    /// # Errors
    /// ONNX Runtime refuses the model, or the provider is not available and `fallback` is not set.
    pub fn start(runtime: &OnnxRuntime, bytes: &[u8], options: &EngineOptions) -> Result<Self, SessionError> {
        Self::start_and(runtime, Source::Bytes(bytes), options, |_, _| Ok(())).map(|(engine, ())| engine)
    }

    /// [`Engine::start`] that looks at the first session, before there are others. `look` gets what it runs on too.
    pub(crate) fn start_and<T, E: From<SessionError>>(
        runtime: &OnnxRuntime,
        source: Source<'_>,
        options: &EngineOptions,
        look: impl FnOnce(&mut Session, Provider) -> Result<T, E>,
    ) -> Result<(Self, T), E> {
        let Opened { settings, sessions, seen } = open(runtime, source, options, look)?;
        let (queue, jobs) = sync_channel(options.queue.get());
        let jobs = Arc::new(Mutex::new(jobs));
        let mut engine =
            Self { provider: settings.provider, closed: Arc::default(), queue: Some(queue), threads: Vec::new() };
        for session in sessions {
            let (jobs, closed, observer) = (Arc::clone(&jobs), Arc::clone(&engine.closed), options.observer.clone());
            let nice = options.nice;
            let thread = thread::Builder::new()
                .name("assay-session".into())
                .spawn(move || {
                    crate::nice::raise(nice);
                    serve(session, settings.provider, &jobs, &closed, observer.as_ref());
                })
                .map_err(|e| SessionError::Refused(format!("no thread for a session: {e}")))?;
            engine.threads.push(thread);
        }
        Ok((engine, seen))
    }

    /// What it runs on, which is the processor after a fallback.
    #[must_use]
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// Runs that it makes at the same time.
    pub(crate) fn sessions(&self) -> usize {
        self.threads.len()
    }

    /// One run. Blocks while the queue is full and until the result is there.
    ///
    /// # Errors
    /// The tensors do not fit the model, the run failed, or the engine was closed.
    pub fn run(&self, inputs: Tensors) -> Result<Tensors, RunError> {
        let (answer, result) = channel();
        // Nobody listens any more only if this thread panicked.
        self.push(inputs, Cancel::default(), move |r| drop(answer.send(r)));
        result.recv().unwrap_or(Err(RunError::Unloaded))
    }

    /// One run without blocking. `reply` is called exactly once, on the session's thread or at once; it should be quick.
    /// [`RunError::Busy`] means that the queue is full.
    pub fn submit(&self, inputs: Tensors, reply: impl FnOnce(Result<Tensors, RunError>) + Send + 'static) -> Ticket {
        let cancel = Cancel::default();
        self.try_push(inputs, cancel.clone(), reply);
        Ticket::new(cancel)
    }

    /// Refuses what waits and what comes, as [`RunError::Unloaded`]. Runs that have begun end normally.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn push(
        &self,
        inputs: Tensors,
        cancel: Cancel,
        reply: impl FnOnce(Result<Tensors, RunError>) + Send + 'static,
    ) {
        // A job that is not sent is dropped, which answers it.
        let job = Job::new(inputs, cancel, reply);
        if let Some(queue) = self.open_queue() {
            drop(queue.send(job));
        }
    }

    pub(crate) fn try_push(
        &self,
        inputs: Tensors,
        cancel: Cancel,
        reply: impl FnOnce(Result<Tensors, RunError>) + Send + 'static,
    ) {
        let job = Job::new(inputs, cancel, reply);
        if let Some(queue) = self.open_queue()
            && let Err(TrySendError::Full(job)) = queue.try_send(job)
        {
            job.reply.send(Err(RunError::Busy));
        }
    }

    fn open_queue(&self) -> Option<&SyncSender<Job>> {
        self.queue.as_ref().filter(|_| !self.is_closed())
    }
}

/// Sessions that were opened.
pub(crate) struct Opened<T> {
    /// How they run: on the processor after a fallback.
    pub(crate) settings: SessionSettings,
    pub(crate) sessions: Vec<Session>,
    /// What was seen of the first one.
    pub(crate) seen: T,
}

/// The sessions that `options` ask for. `look` gets the first one, and what it runs on.
pub(crate) fn open<T, E: From<SessionError>>(
    runtime: &OnnxRuntime,
    source: Source<'_>,
    options: &EngineOptions,
    look: impl FnOnce(&mut Session, Provider) -> Result<T, E>,
) -> Result<Opened<T>, E> {
    let alone = gpu::alone(options.provider);
    let mut settings = SessionSettings {
        provider: options.provider,
        intra_threads: options.threads(options.provider),
        spinning: options.spinning,
        optimized: true,
    };
    let mut sessions = match open_all(runtime, source, &settings, options) {
        Err(SessionError::Provider { provider, reason }) if options.fallback && provider != Provider::Cpu => {
            tracing::warn!(%provider, %reason, "the provider is not available: falling back to the processor");
            settings.provider = Provider::Cpu;
            settings.intra_threads = options.threads(Provider::Cpu);
            open_all(runtime, source, &settings, options)?
        }
        other => other?,
    };
    let seen = look(&mut sessions[0], settings.provider)?;
    drop(alone);
    Ok(Opened { settings, sessions, seen })
}

/// Sessions of `source`. On the processor they are opened at the same time: most of it is that each packs the weights for itself. Each is opened on a thread
/// of its own where it is to be nice, for its own threads are as nice as the one that opens it.
fn open_all(
    runtime: &OnnxRuntime,
    source: Source<'_>,
    settings: &SessionSettings,
    options: &EngineOptions,
) -> Result<Vec<Session>, SessionError> {
    let (count, nice) = (options.sessions.get(), options.nice);
    let open = || {
        crate::nice::raise(nice);
        session::open(runtime, source, settings)
    };
    if settings.provider != Provider::Cpu {
        return (0..count).map(|_| session::open(runtime, source, settings)).collect();
    }
    thread::scope(|scope| {
        let apart = if nice > 0 { 0 } else { 1 };
        let others: Vec<_> = (apart..count).map(|_| scope.spawn(open)).collect();
        let here: Vec<_> = (0..apart).map(|_| open()).collect();
        let others = others.into_iter().map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        here.into_iter().chain(others).collect()
    })
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
        self.queue = None;
        for thread in self.threads.drain(..) {
            // A reply may hold the last handle of the engine: its thread cannot wait for itself.
            if thread.thread().id() != std::thread::current().id() {
                // The threads catch panics, so there is nothing to learn from the result.
                drop(thread.join());
            }
        }
    }
}

/// The life of a session's thread: until the queue is gone.
fn serve(
    mut session: Session,
    provider: Provider,
    jobs: &Mutex<Receiver<Job>>,
    closed: &AtomicBool,
    observer: Option<&RunObserver>,
) {
    let mut runs = gpu::Runs::new(provider);
    let interrupt = Interrupt::new([&session]);
    let stopping = interrupt.clone();
    let stop = Arc::new(move || stopping.stop());
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else {
            let _alone = gpu::alone(provider);
            return drop(session);
        };
        let answered = catch_unwind(AssertUnwindSafe(|| {
            if closed.load(Ordering::Acquire) {
                return drop(job.reply);
            }
            let listening = job.cancel.listen(&stop);
            if job.cancel.is_cancelled() {
                drop(listening);
                interrupt.was_stopped();
                return job.reply.send(Err(RunError::Cancelled));
            }
            let turn = runs.turn(|| job.inputs.values().map(|array| array.shape().to_vec()).collect());
            let (waited, began) = (job.since.elapsed(), Instant::now());
            let result = catch_unwind(AssertUnwindSafe(|| session::run(&mut session, &job.inputs)))
                .unwrap_or_else(|panic| Err(RunError::Runtime(format!("a run panicked: {}", message(&*panic)))));
            drop((turn, listening));
            let result = if interrupt.was_stopped() { result.map_err(|_| RunError::Cancelled) } else { result };
            if let Some(RunObserver(observe)) = observer {
                let samples = job.inputs.first().and_then(|(_, array)| array.shape().first()).copied().unwrap_or(0);
                observe(RunTimes { waited, ran: began.elapsed(), samples, batches: 1 });
            }
            job.reply.send(result);
        }));
        if let Err(panic) = answered {
            tracing::error!(panic = message(&*panic), "a reply panicked");
        }
    }
}

/// What a panic said.
pub(crate) fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
