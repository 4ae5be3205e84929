//! The model repository: `MODELS/<name>/<version>/model.onnx`, with an optional `MODELS/<name>/model.toml`.
//!
//! [`Repository::scan`] reads the folders, which is quick; [`Repository::load`] then hosts every version, which is not. A
//! version that fails to load is kept with the reason. While others are served, [`Repository::publish`] adds a version, [`Repository::reload`] reads a
//! model anew, and [`Repository::unload`] takes it out of service. Start with [`Repository`], [`Manifest`] and [`Hosted`].

mod control;
mod hosted;
mod manifest;
mod publish;
mod scan;
mod watch;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
};

use assay_runtime::{ClassifierOptions, RunObserver};

pub(crate) use control::retire;
pub(crate) use hosted::Hosted;
pub(crate) use manifest::{Input, Manifest};
pub(crate) use publish::Host;
pub(crate) use scan::{NAME, is_name};
pub(crate) use watch::Folder;

use crate::{metrics::Metrics, status::CallError};
use watch::Prints;

/// The models of one folder.
#[derive(Debug)]
pub(crate) struct Repository {
    root: PathBuf,
    /// Replaced as a whole when a model changes, so that whoever reads it sees the models of one moment.
    models: RwLock<Arc<Models>>,
    /// Held while a model is changed, which may take as long as loading it. Never by who only reads.
    changing: Mutex<()>,
    /// What the files looked like when they were read.
    seen: Mutex<Prints>,
}

/// The models by name.
pub(crate) type Models = BTreeMap<String, Arc<Model>>;

/// A named model.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// Its `model.toml`; where that is wrong: why.
    pub(crate) manifest: Result<Manifest, String>,
    /// At least one.
    pub(crate) versions: BTreeMap<u32, Arc<Version>>,
}

/// One `.onnx` file of a model.
#[derive(Debug)]
pub(crate) struct Version {
    file: PathBuf,
    /// Empty while it is being loaded.
    state: OnceLock<State>,
}

/// What became of a version.
#[derive(Debug)]
pub(crate) enum State {
    /// It is served.
    Ready(Arc<Hosted>),
    /// It could not be loaded: why.
    Failed(String),
    /// It was taken out of service.
    Unloaded,
}

impl Repository {
    /// The models as they are now.
    pub(crate) fn models(&self) -> Arc<Models> {
        Arc::clone(&self.models.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Hosts every version, the newest of each model first. Blocks; failures are kept with their model.
    pub(crate) fn load(&self, host: &Host<'_>) {
        for (name, model) in self.models().iter() {
            for (&number, version) in model.versions.iter().rev() {
                version.load(name, number, &model.manifest, host);
            }
        }
    }

    /// Every hosted version, in order of name.
    pub(crate) fn hosted(&self) -> Vec<Arc<Hosted>> {
        let models = self.models();
        models.values().flat_map(|model| model.versions.values()).filter_map(|v| v.hosted().cloned()).collect()
    }

    /// What failed: `model/version: why`.
    pub(crate) fn failures(&self) -> Vec<String> {
        let models = self.models();
        let versions = models.iter().flat_map(|(name, model)| model.versions.iter().map(move |v| (name, v)));
        versions
            .filter_map(|(name, (number, version))| {
                let State::Failed(reason) = version.state.get()? else { return None };
                Some(format!("{name}/{number}: {reason}"))
            })
            .collect()
    }

    /// The model of this name. `field` is where the request names it.
    pub(crate) fn model(&self, field: &str, name: &str) -> Result<Arc<Model>, CallError> {
        if name.is_empty() {
            return Err(CallError::field(field, "missing; name a model of ListModels"));
        }
        let models = self.models();
        let found = models.get(name).cloned();
        found.ok_or_else(|| CallError::unknown("model", name, models.keys().map(String::as_str)))
    }

    /// The version of a model, ready to run; empty `version`: the newest.
    pub(crate) fn find(&self, field: &str, name: &str, version: &str) -> Result<Arc<Hosted>, CallError> {
        let model = self.model(field, name)?;
        let (number, found) = model.version(name, version)?;
        match found.state.get() {
            Some(State::Ready(hosted)) => Ok(Arc::clone(hosted)),
            Some(State::Failed(reason)) => {
                Err(CallError::Precondition(format!("model `{name}` version {number} could not be loaded: {reason}")))
            }
            Some(State::Unloaded) => Err(CallError::Unloaded(name.to_owned())),
            None => Err(CallError::Loading(name.to_owned())),
        }
    }
}

/// The options of a model whose runs are measured under its name.
fn observed(options: &ClassifierOptions, name: &str, version: u32, metrics: &Metrics) -> ClassifierOptions {
    let statistics = metrics.statistics(name, version);
    let (name, metrics) = (name.to_owned(), metrics.clone());
    let mut options = options.clone();
    options.engine.observer = Some(RunObserver::new(move |times| {
        metrics.ran(&name, times);
        statistics.ran(times);
    }));
    options
}

impl Model {
    /// The newest version.
    pub(crate) fn newest(&self) -> Option<&Version> {
        self.versions.values().next_back().map(Arc::as_ref)
    }

    /// The version that is asked for; empty `wanted`: the newest.
    pub(crate) fn version(&self, name: &str, wanted: &str) -> Result<(u32, &Version), CallError> {
        let found = if wanted.is_empty() {
            self.versions.last_key_value()
        } else {
            wanted.parse().ok().and_then(|number: u32| self.versions.get_key_value(&number))
        };
        found.map(|(&number, version)| (number, version.as_ref())).ok_or_else(|| {
            let known: Vec<String> = self.versions.keys().rev().map(u32::to_string).collect();
            CallError::Unknown {
                kind: "version",
                name: wanted.to_owned(),
                known: format!("model `{name}` has {}", known.join(", ")),
                hint: String::new(),
            }
        })
    }
}

impl Version {
    fn new(file: PathBuf) -> Arc<Self> {
        Arc::new(Self { file, state: OnceLock::new() })
    }

    /// The same version, out of service. One that could not be loaded stays what it is.
    fn unloaded(self: &Arc<Self>) -> Arc<Self> {
        match self.state.get() {
            Some(State::Failed(_)) => Arc::clone(self),
            _ => Arc::new(Self { file: self.file.clone(), state: OnceLock::from(State::Unloaded) }),
        }
    }

    /// Hosts it, or keeps why it cannot be. Blocks.
    fn load(&self, name: &str, number: u32, manifest: &Result<Manifest, String>, host: &Host<'_>) {
        let options = observed(host.options, name, number, host.metrics);
        let statistics = host.metrics.statistics(name, number);
        let loaded = Hosted::load(name, number, &self.file, manifest, host.runtime, &options, statistics);
        match &loaded {
            Ok(hosted) => tracing::info!(
                model = name,
                version = number,
                provider = hosted.spec().provider,
                classes = hosted.spec().classes,
                "model loaded"
            ),
            Err(reason) => tracing::error!(model = name, version = number, reason, "model not loaded"),
        }
        // Loaded once: nothing else writes the state.
        let _ = self.state.set(match loaded {
            Ok(hosted) => State::Ready(Arc::new(hosted)),
            Err(reason) => State::Failed(reason),
        });
    }

    /// The hosted model, once it is loaded.
    pub(crate) fn hosted(&self) -> Option<&Arc<Hosted>> {
        match self.state.get()? {
            State::Ready(hosted) => Some(hosted),
            State::Failed(_) | State::Unloaded => None,
        }
    }

    /// Its state; `None` while it is being loaded.
    pub(crate) fn state(&self) -> Option<&State> {
        self.state.get()
    }

    /// Why it does not serve; `None` where it does.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self.state.get() {
            Some(State::Ready(_)) => None,
            Some(State::Failed(reason)) => Some(reason),
            Some(State::Unloaded) => Some("unloaded"),
            None => Some("being loaded"),
        }
    }
}
