//! What handlers share: the repository, the data sets, the limits, the places and the metrics.

use std::{
    num::{NonZeroU64, NonZeroUsize},
    sync::Arc,
};

use assay_audit::Circumstances;
use assay_runtime::{ClassifierOptions, EngineOptions, Library, OnnxRuntime, Provider};

use crate::{
    admission::Admission,
    audit::Audits,
    call::Call,
    config::{Config, ConfigError},
    error::ServerError,
    harden::Hardens,
    lifecycle::Lifecycle,
    metrics::Metrics,
    quota::Quotas,
    repository::{Host, Hosted, Manifest, Repository},
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
    pub(crate) audits: Audits,
    /// `None` where the configuration switches training off.
    pub(crate) hardens: Option<Hardens>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) metrics: Metrics,
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
        let audits = Audits::open(&config)?;
        let hardens = Hardens::open(&config)?;
        Ok(Arc::new(Self {
            config,
            runtime,
            repository,
            admission,
            quotas,
            audits,
            hardens,
            lifecycle: Arc::default(),
            metrics,
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
        self.repository.publish(name, content, manifest, &self.host(&self.hosting()))
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

    fn host<'a>(&'a self, options: &'a ClassifierOptions) -> Host<'a> {
        Host { runtime: &self.runtime, options, metrics: &self.metrics }
    }

    /// How models are hosted.
    fn hosting(&self) -> ClassifierOptions {
        let runtime = &self.config.runtime;
        // Every prediction that is let in finds room: each may be split among the sessions, and the largest into more runs.
        let split = self.config.concurrency.predictions * runtime.sessions;
        // A memory limit may leave one sample to a run.
        let run = if runtime.memory_bytes.is_some() { 1 } else { runtime.batch };
        let largest = self.config.limits.max_batch.div_ceil(run);
        let engine = EngineOptions {
            sessions: at_least_one(runtime.sessions),
            intra_threads: runtime.threads.and_then(NonZeroUsize::new),
            queue: at_least_one(split + largest),
            ..self.engine()
        };
        ClassifierOptions {
            engine,
            max_batch: self.batch(),
            memory: runtime.memory_bytes.and_then(NonZeroU64::new),
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

    /// What audits run on.
    pub(crate) fn circumstances(&self) -> Circumstances {
        let runtime = &self.config.runtime;
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = runtime.threads.unwrap_or_else(|| (processors / runtime.sessions.max(1)).max(1));
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
