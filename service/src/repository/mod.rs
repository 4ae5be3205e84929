//! The model repository: `MODELS/<name>/<version>/model.onnx`, with an optional `MODELS/<name>/model.toml`.
//!
//! [`Repository::scan`] reads the folders, which is quick; [`Repository::load`] then hosts every version, which is not. A
//! version that fails to load is kept with the reason. Start with [`Repository`], [`Manifest`] and [`Hosted`].

mod hosted;
mod manifest;
mod scan;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use assay_runtime::{ClassifierOptions, OnnxRuntime, RunObserver};

pub(crate) use hosted::Hosted;
pub(crate) use manifest::Manifest;

use crate::{metrics::Metrics, status::CallError};

/// The models of one folder.
#[derive(Debug)]
pub(crate) struct Repository {
    models: BTreeMap<String, Model>,
}

/// A named model.
#[derive(Debug)]
pub(crate) struct Model {
    /// Its `model.toml`; where that is wrong: why.
    pub(crate) manifest: Result<Manifest, String>,
    /// At least one.
    pub(crate) versions: BTreeMap<u32, Version>,
}

/// One `.onnx` file of a model.
#[derive(Debug)]
pub(crate) struct Version {
    file: PathBuf,
    /// Empty while it is being loaded.
    state: OnceLock<Result<Arc<Hosted>, String>>,
}

impl Repository {
    /// The models by name.
    pub(crate) fn models(&self) -> &BTreeMap<String, Model> {
        &self.models
    }

    /// Hosts every version, the newest of each model first. Blocks; failures are kept with their model.
    pub(crate) fn load(&self, runtime: &OnnxRuntime, options: &ClassifierOptions, metrics: &Metrics) {
        for (name, model) in &self.models {
            for (&number, version) in model.versions.iter().rev() {
                let loaded = Hosted::load(
                    name,
                    number,
                    &version.file,
                    &model.manifest,
                    runtime,
                    &observed(options, name, metrics),
                );
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
                let _ = version.state.set(loaded.map(Arc::new));
            }
        }
    }

    /// Every hosted version.
    pub(crate) fn hosted(&self) -> impl Iterator<Item = &Arc<Hosted>> {
        self.models.values().flat_map(|model| model.versions.values()).filter_map(Version::hosted)
    }

    /// What failed: `model/version: why`.
    pub(crate) fn failures(&self) -> Vec<String> {
        let versions = self.models.iter().flat_map(|(name, model)| model.versions.iter().map(move |v| (name, v)));
        versions
            .filter_map(|(name, (number, version))| {
                let Err(reason) = version.state.get()? else { return None };
                Some(format!("{name}/{number}: {reason}"))
            })
            .collect()
    }

    /// The model of this name. `field` is where the request names it.
    pub(crate) fn model(&self, field: &str, name: &str) -> Result<&Model, CallError> {
        if name.is_empty() {
            return Err(CallError::field(field, "missing; name a model of ListModels"));
        }
        self.models.get(name).ok_or_else(|| CallError::unknown("model", name, self.models.keys().map(String::as_str)))
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
        self.versions.values().next_back()
    }

    fn version(&self, name: &str, wanted: &str) -> Result<(u32, &Version), CallError> {
        let found = if wanted.is_empty() {
            self.versions.last_key_value()
        } else {
            wanted.parse().ok().and_then(|number: u32| self.versions.get_key_value(&number))
        };
        found.map(|(&number, version)| (number, version)).ok_or_else(|| {
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
