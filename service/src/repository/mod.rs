//! The model repository: `MODELS/<name>/<version>/model.onnx`, with an optional `MODELS/<name>/model.toml`.
//!
//! [`Repository::scan`] reads the folders, which is quick; [`Repository::load`] then hosts every version, which is not. A
//! version that fails to load is kept with the reason. [`Repository::publish`] adds a version while others are served. Start with [`Repository`],
//! [`Manifest`] and [`Hosted`].

mod hosted;
mod manifest;
mod publish;
mod scan;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use assay_runtime::{ClassifierOptions, RunObserver};

pub(crate) use hosted::Hosted;
pub(crate) use manifest::{Input, Manifest};
pub(crate) use publish::Host;
pub(crate) use scan::{NAME, is_name};

use crate::{metrics::Metrics, status::CallError};

/// The models of one folder.
#[derive(Debug)]
pub(crate) struct Repository {
    root: PathBuf,
    /// Replaced as a whole when a version is added, so that whoever reads it sees the models of one moment.
    models: RwLock<Arc<Models>>,
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
    state: OnceLock<Result<Arc<Hosted>, String>>,
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
                let Err(reason) = version.state.get()? else { return None };
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
            Some(Ok(hosted)) => Ok(Arc::clone(hosted)),
            Some(Err(reason)) => {
                Err(CallError::Precondition(format!("model `{name}` version {number} could not be loaded: {reason}")))
            }
            None => Err(CallError::Loading(name.to_owned())),
        }
    }
}

/// The options of a model whose runs are measured under its name.
fn observed(options: &ClassifierOptions, name: &str, metrics: &Metrics) -> ClassifierOptions {
    let (name, metrics) = (name.to_owned(), metrics.clone());
    let mut options = options.clone();
    options.engine.observer = Some(RunObserver::new(move |times| metrics.ran(&name, times)));
    options
}

impl Model {
    /// The newest version.
    pub(crate) fn newest(&self) -> Option<&Version> {
        self.versions.values().next_back().map(Arc::as_ref)
    }

    fn version(&self, name: &str, wanted: &str) -> Result<(u32, &Version), CallError> {
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

    /// Hosts it, or keeps why it cannot be. Blocks.
    fn load(&self, name: &str, number: u32, manifest: &Result<Manifest, String>, host: &Host<'_>) {
        let options = observed(host.options, name, host.metrics);
        let loaded = Hosted::load(name, number, &self.file, manifest, host.runtime, &options);
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
        let _ = self.state.set(loaded.map(Arc::new));
    }

    /// The hosted model, once it is loaded.
    pub(crate) fn hosted(&self) -> Option<&Arc<Hosted>> {
        self.state.get()?.as_ref().ok()
    }

    /// Why it does not serve; `None` where it does.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self.state.get() {
            Some(Ok(_)) => None,
            Some(Err(reason)) => Some(reason),
            None => Some("being loaded"),
        }
    }
}
