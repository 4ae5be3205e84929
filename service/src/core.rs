//! What handlers share: the repository, the data sets, the limits, the places and the metrics.

use std::{
    num::{NonZeroU64, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use assay_audit::Circumstances;
use assay_runtime::{BACKGROUND, Batching, ClassifierOptions, EngineOptions, Library, OnnxRuntime, Provider};
use tokio::{sync::Notify, task::JoinHandle};

use crate::{
    admission::Admission,
    answers::Answers,
    audit::Audits,
    call::Call,
    config::{Config, ConfigError},
    error::ServerError,
    gpu::Gpu,
    harden::Hardens,
    lifecycle::Lifecycle,
    metrics::Metrics,
    near_duplicates::NearDuplicates,
    quota::Quotas,
    repository::{Host, Hosted, Manifest, Repository, retire},
    status::CallError,
};

/// What handlers share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) runtime: OnnxRuntime,
    pub(crate) repository: Repository,
    pub(crate) admission: Admission,
    pub(crate) quotas: Arc<Quotas>,
    /// `None` where no answer is kept.
    pub(crate) answers: Option<Answers>,
    /// `None` where samples are not compared with those before.
    pub(crate) near_duplicates: Option<NearDuplicates>,
    pub(crate) audits: Audits,
    /// `None` where the configuration switches training off.
    pub(crate) hardens: Option<Hardens>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) metrics: Metrics,
    /// `None` where the models run on the processor.
    pub(crate) gpu: Option<Gpu>,
    /// Told when a model comes, goes or is replaced.
    pub(crate) changed: Notify,
}

impl Core {
    /// Starts ONNX Runtime and reads the repository's folders; [`Core::load`] loads the models. Blocks.
    pub(crate) fn open(config: Config) -> Result<Arc<Self>, ServerError> {
        config.validate()?;
        for (name, path) in &config.datasets {
            if !path.exists() {
                return Err(ServerError::Config(ConfigError::Value {
                    key: format!("datasets.{name}"),
                    value: format!("\"{}\"", path.display()),
                    origin: "the configuration".to_owned(),
                    expected: "an existing file or folder with a data set".to_owned(),
                }));
            }
        }
        let repository = Repository::scan(&config.models)?;
        let runtime = OnnxRuntime::load(&Library { path: config.runtime.library.clone() })
            .map_err(|e| ServerError::Runtime(e.to_string()))?;
        let metrics = Metrics::new()?;
        metrics.register(&repository);
        metrics.build(runtime.version(), &config.runtime.provider);
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            onnxruntime = runtime.version(),
            provider = config.runtime.provider,
            models = repository.models().len(),
            "assay-server"
        );
        let admission = Admission::new(&config.concurrency);
        let quotas = Arc::new(Quotas::new(metrics.clone()));
        let answers = (config.cache.bytes > 0).then(|| Answers::new(config.cache.bytes));
        let near_duplicates =
            (config.near_duplicates.window > 0).then(|| NearDuplicates::new(config.near_duplicates.window));
        let audits = Audits::open(&config)?;
        let hardens = Hardens::open(&config)?;
        let gpu = Gpu::of(config.runtime.provider.parse().unwrap_or_default(), &metrics);
        Ok(Arc::new(Self {
            config,
            runtime,
            repository,
            admission,
            quotas,
            answers,
            near_duplicates,
            audits,
            hardens,
            lifecycle: Arc::default(),
            metrics,
            gpu,
            changed: Notify::new(),
        }))
    }

    /// [`Core::open`] on a thread that may block.
    pub(crate) async fn open_in_background(config: Config) -> Result<Arc<Self>, ServerError> {
        let opened = tokio::task::spawn_blocking(move || Self::open(config)).await;
        opened.unwrap_or_else(|e| Err(ServerError::Serve(e.to_string())))
    }

    /// Loads the models. Blocks; failures are kept with their model.
    pub(crate) fn load(&self) {
        self.repository.load(&self.host(&self.hosting()));
        self.metrics.loaded(&self.repository);
        self.lifecycle.set_loaded();
    }

    /// Writes a version of a model, and hosts it: see [`Repository::publish`].
    pub(crate) fn publish(&self, name: &str, content: &[u8], manifest: &Manifest) -> Result<Arc<Hosted>, String> {
        let published = self.repository.publish(name, content, manifest, &self.host(&self.hosting()));
        self.changed.notify_one();
        let (hosted, gone) = published?;
        if !gone.is_empty()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(retire(gone, self.config.shutdown.drain()));
        }
        Ok(hosted)
    }

    /// Hosts a model anew from its folder: see [`Repository::reload`]. What it replaces is given back when nobody uses it any more.
    pub(crate) async fn reload(self: &Arc<Self>, field: &'static str, name: &str) -> Result<(), CallError> {
        self.change(name, move |core, name| core.repository.reload(field, name, &core.host(&core.hosting()))).await?;
        Ok(())
    }

    /// Takes a model out of service: see [`Repository::unload`]. Returns when its sessions were given back: when nobody uses it any more. What still
    /// waits for it is refused after the time that a server which stops leaves to its requests.
    pub(crate) async fn unload(self: &Arc<Self>, field: &'static str, name: &str) -> Result<(), CallError> {
        let retired =
            self.change(name, move |core, name| core.repository.unload(field, name, &core.host(&core.hosting())));
        // It goes on whether or not somebody waits.
        let _ = retired.await?.await;
        Ok(())
    }

    /// Changes a model on a thread that may block, whatever becomes of who asked for it. Gives the task that gives back what is not hosted any more.
    async fn change<C>(self: &Arc<Self>, name: &str, change: C) -> Result<JoinHandle<()>, CallError>
    where
        C: FnOnce(&Self, &str) -> Result<Vec<Arc<Hosted>>, CallError> + Send + 'static,
    {
        if !self.lifecycle.loaded().is_cancelled() {
            return Err(CallError::Loading(name.to_owned()));
        }
        let (core, name) = (Arc::clone(self), name.to_owned());
        let changed = tokio::spawn(async move {
            let working = Arc::clone(&core);
            let changed = tokio::task::spawn_blocking(move || change(&working, &name)).await;
            let gone = changed.unwrap_or_else(|e| Err(CallError::Internal(format!("the work ended early: {e}"))))?;
            core.changed.notify_one();
            Ok(tokio::spawn(retire(gone, core.config.shutdown.drain())))
        });
        changed.await.unwrap_or_else(|e| Err(CallError::Internal(format!("the work ended early: {e}"))))
    }

    /// What sessions run on.
    pub(crate) fn engine(&self) -> EngineOptions {
        let runtime = &self.config.runtime;
        EngineOptions {
            // Validated with the configuration.
            provider: runtime.provider.parse::<Provider>().unwrap_or_default(),
            fallback: runtime.fallback,
            ..EngineOptions::default()
        }
    }

    /// The least niceness of threads that do work of this `level`.
    pub(crate) fn nice(&self, level: i32) -> i32 {
        if self.config.runtime.background { level } else { 0 }
    }

    /// What models are hosted with.
    pub(crate) fn host<'a>(&'a self, options: &'a ClassifierOptions) -> Host<'a> {
        Host { runtime: &self.runtime, options, metrics: &self.metrics }
    }

    /// How models are hosted.
    pub(crate) fn hosting(&self) -> ClassifierOptions {
        let runtime = &self.config.runtime;
        // Every prediction that is let in finds room, even if each sample were a run of its own.
        let predictions = self.config.concurrency.predictions.max(self.config.limits.max_batch);
        let engine = EngineOptions {
            sessions: at_least_one(runtime.sessions),
            intra_threads: runtime.threads.and_then(NonZeroUsize::new),
            queue: at_least_one(predictions),
            ..self.engine()
        };
        ClassifierOptions {
            engine,
            max_batch: self.batch(),
            memory: runtime.memory_bytes.and_then(NonZeroU64::new),
            batching: Batching {
                delay: Duration::from_micros(self.config.batching.delay_microseconds),
                buckets: self.config.batching.buckets.iter().copied().filter_map(NonZeroUsize::new).collect(),
            },
            background: runtime.background.then_some(BACKGROUND),
            ..ClassifierOptions::default()
        }
    }

    /// Samples of one run of a model.
    fn batch(&self) -> NonZeroUsize {
        at_least_one(self.config.runtime.batch)
    }

    /// Samples that an attack or an audit evaluates at once. It waits for each batch before it asks for the next, and the
    /// model shares a batch between its sessions: with a full run for every session, none is idle while the job goes on.
    pub(crate) fn job_batch(&self) -> NonZeroUsize {
        self.batch().saturating_mul(at_least_one(self.config.runtime.sessions))
    }

    /// Threads that a session of this provider computes with.
    pub(crate) fn threads(&self, provider: &str) -> usize {
        let runtime = &self.config.runtime;
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let usual = if provider == "cpu" { (processors / runtime.sessions.max(1)).max(1) } else { 1 };
        runtime.threads.unwrap_or(usual)
    }

    /// What audits run on.
    pub(crate) fn circumstances(&self) -> Circumstances {
        let runtime = &self.config.runtime;
        let threads = self.threads("cpu");
        let [threads, sessions, batch] =
            [threads, runtime.sessions, self.job_batch().get()].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        Circumstances { date: String::new(), threads, sessions, batch }
    }

    /// Why the server takes no traffic; empty when it does.
    pub(crate) fn not_ready(&self) -> Vec<String> {
        self.lifecycle.not_ready(&self.repository, self.config.readiness.require_all_models)
    }

    /// The model that a call names in `field`, ready to run.
    pub(crate) fn find(&self, call: &Call, field: &str, name: &str, version: &str) -> Result<Arc<Hosted>, CallError> {
        self.repository.model(field, name)?;
        call.about(name);
        self.repository.find(field, name, version)
    }
}

/// `n`, or 1 where it is 0.
pub(crate) fn at_least_one(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN)
}
