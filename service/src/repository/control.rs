//! Loading a model anew and taking it out of service, while others are served.

use std::{
    collections::BTreeMap,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{Host, Hosted, Manifest, Model, Models, NAME, Repository, is_name, scan::versions};
use crate::status::CallError;

/// How often those who still use a model that was replaced are counted.
const GLANCE: Duration = Duration::from_millis(20);

impl Repository {
    /// Reads the folder of a model and hosts every version in it, in the place of those that are hosted: they serve until all of the new ones are ready,
    /// and stay where one of them cannot be hosted. Gives what was replaced; see [`retire`]. Blocks.
    ///
    /// # Errors
    /// `field` names no folder with a version in it; its `model.toml` is wrong, or one of its versions cannot be hosted.
    pub(crate) fn reload(&self, field: &str, name: &str, host: &Host<'_>) -> Result<Vec<Arc<Hosted>>, CallError> {
        if !is_name(name) {
            return Err(CallError::field(field, format!("expected the name of a model, {NAME}, got {name:?}")));
        }
        let _change = self.changing();
        // Before they are read: what changes meanwhile is seen later.
        self.note(name);
        let folder = self.root.join(name);
        let found = if folder.is_dir() { versions(&folder) } else { Ok(BTreeMap::new()) };
        let found = found.map_err(|e| CallError::Precondition(format!("{} cannot be read: {e}", folder.display())))?;
        if found.is_empty() {
            let models = self.models();
            let names: Vec<&str> = models.keys().map(String::as_str).filter(|known| *known != name).collect();
            return Err(CallError::unknown("folder with a version of the model", name, names));
        }
        let failed = |what: &str, reason: &str| {
            CallError::Precondition(format!("model `{name}`{what} could not be loaded: {reason}; nothing was changed"))
        };
        let manifest = Manifest::read(&folder.join("model.toml"));
        let found = match &manifest {
            Err(reason) => return Err(failed("", reason)),
            Ok(manifest) => manifest.versions.chosen(found).map_err(|reason| failed("", &reason))?,
        };
        host.metrics.register_new(name);
        for (&number, version) in found.iter().rev() {
            version.load(name, number, &manifest, host);
            if let Some(reason) = version.reason() {
                return Err(failed(&format!(" version {number}"), reason));
            }
        }
        Ok(self.put(name, Model { manifest, versions: found }, host))
    }

    /// Takes every version of a model out of service: who asks for it is told so. Gives what was hosted; see [`retire`]. Blocks while a model is loaded.
    ///
    /// # Errors
    /// There is no such model.
    pub(crate) fn unload(&self, field: &str, name: &str, host: &Host<'_>) -> Result<Vec<Arc<Hosted>>, CallError> {
        let _change = self.changing();
        let model = self.model(field, name)?;
        let versions = model.versions.iter().map(|(&number, version)| (number, version.unloaded())).collect();
        Ok(self.put(name, Model { manifest: model.manifest.clone(), versions }, host))
    }

    /// Takes a model out of service whose folder is gone: there is none of that name any more. Gives what was hosted; see [`retire`]. Blocks while a model is
    /// loaded.
    pub(super) fn remove(&self, name: &str, host: &Host<'_>) -> Vec<Arc<Hosted>> {
        let _change = self.changing();
        self.note(name);
        let gone = {
            let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
            let mut changed = Models::clone(&models);
            let gone = changed.remove(name);
            *models = Arc::new(changed);
            gone
        };
        let gone = gone.iter().flat_map(|model| model.versions.values()).filter_map(|v| v.hosted().cloned());
        let gone: Vec<_> = gone.collect();
        gone.iter().for_each(|hosted| host.metrics.retired(hosted));
        host.metrics.loaded(self);
        tracing::info!(model = name, "its folder is gone; it is not served any more");
        gone
    }

    /// Held by whoever changes the models, from reading them to writing them.
    pub(super) fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The model under its name; gives what was hosted of the one before.
    pub(super) fn put(&self, name: &str, model: Model, host: &Host<'_>) -> Vec<Arc<Hosted>> {
        let kept: Vec<_> = model.versions.values().filter_map(|version| version.hosted().cloned()).collect();
        let before = {
            let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
            let mut changed = Models::clone(&models);
            let before = changed.insert(name.to_owned(), Arc::new(model));
            *models = Arc::new(changed);
            before
        };
        let before = before.iter().flat_map(|model| model.versions.values()).filter_map(|v| v.hosted().cloned());
        let gone: Vec<_> = before.filter(|old| !kept.iter().any(|new| Arc::ptr_eq(old, new))).collect();
        gone.iter().for_each(|hosted| host.metrics.retired(hosted));
        host.metrics.loaded(self);
        gone
    }
}

/// Waits until nobody uses these models any more, and gives their sessions back. What still waits for one after `patience` is refused, and what runs then
/// ends with the run.
pub(crate) async fn retire(gone: Vec<Arc<Hosted>>, patience: Duration) {
    let until = Instant::now() + patience;
    let mut waits = true;
    while gone.iter().any(|hosted| Arc::strong_count(hosted) > 1) {
        if waits && Instant::now() >= until {
            waits = false;
            gone.iter().for_each(|hosted| hosted.close());
        }
        tokio::time::sleep(GLANCE).await;
    }
    let names: Vec<String> = gone.iter().map(|hosted| format!("{}/{}", hosted.name, hosted.version)).collect();
    // Sessions are given back by their threads, which are waited for. The task ends whatever happens to who waits for it.
    let _ = tokio::task::spawn_blocking(move || drop(gone)).await;
    tracing::info!(models = names.join(", "), "sessions given back");
}
