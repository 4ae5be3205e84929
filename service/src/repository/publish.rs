//! Adding a version while others are served.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use assay_runtime::{ClassifierOptions, OnnxRuntime};

use super::{Hosted, Manifest, Model, Repository, State, Version, scan::versions};
use crate::metrics::Metrics;

/// Folders whose names begin so hold a version that is being written. Those with a dot are no models.
const DRAFT: &str = ".new-";

impl Repository {
    /// Whether a version that takes pixels in [0, 1] can be one of the model `name`: of a new one always.
    ///
    /// # Errors
    /// What of its `model.toml` would make something else of it.
    pub(crate) fn receives(&self, name: &str) -> Result<(), String> {
        let models = self.models();
        let Some(model) = models.get(name) else { return Ok(()) };
        let manifest = match &model.manifest {
            Err(reason) => return Err(format!("the model.toml of `{name}` is wrong: {reason}")),
            Ok(manifest) => manifest,
        };
        let closed = [("only", manifest.versions.only.is_empty()), ("sha256", manifest.versions.sha256.is_empty())];
        if let Some((key, _)) = closed.iter().find(|(_, open)| !open) {
            return Err(format!(
                "the model.toml of `{name}` says in versions.{key} which versions are served, and a new one is not among them; expected another name"
            ));
        }
        let input = &manifest.input;
        let key = if input.mean.is_empty() && input.std.is_empty() {
            input.range.filter(|range| *range != [0.0, 1.0]).map(|_| "input.range")
        } else {
            Some("input.mean or input.std")
        };
        key.map_or(Ok(()), |key| {
            Err(format!(
                "the model.toml of `{name}` has {key}, and what is made takes pixels in [0, 1]; expected another name"
            ))
        })
    }

    /// Whether a version of `name` can be written.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub(crate) fn writable(&self, name: &str) -> Result<(), String> {
        let model = self.root.join(name);
        let probe = if model.is_dir() { model } else { self.root.clone() }.join(".probe");
        fs::create_dir(&probe).and_then(|()| fs::remove_dir(&probe)).map_err(|e| {
            let root = self.root.display();
            format!("the model repository {root} cannot be written ({e}), and training puts its models there; make it writable for this server")
        })
    }

    /// Writes `content` as the next version of the model `name`, with `manifest` if there is no such model, and hosts it. Where a version has this
    /// very content already, that is the one. Gives it, and what is not served any more because only the latest versions are; see [`retire`](super::retire).
    /// Blocks.
    ///
    /// Only one version is published at a time. A version appears with all of its files: a server that is killed leaves none half written.
    ///
    /// # Errors
    /// It cannot be written; it was written and cannot be hosted.
    pub(crate) fn publish(
        &self,
        name: &str,
        content: &[u8],
        manifest: &Manifest,
        host: &Host<'_>,
    ) -> Result<(Arc<Hosted>, Vec<Arc<Hosted>>), String> {
        let folder = self.root.join(name);
        let unwritten = |e: io::Error| format!("the version cannot be written into {}: {e}", folder.display());
        let number = match self.with_content(&folder, content).map_err(unwritten)? {
            Some(number) => number,
            None => write(&self.root, &folder, name, content, manifest).map_err(unwritten)?,
        };
        let (version, gone) = self.add(name, number, &folder, host);
        let hosted = version.hosted().cloned().ok_or_else(|| {
            let reason = version.reason().unwrap_or_default();
            format!("version {number} of `{name}` was written and cannot be hosted: {reason}")
        })?;
        Ok((hosted, gone))
    }

    /// The version whose file has this content.
    fn with_content(&self, folder: &Path, content: &[u8]) -> io::Result<Option<u32>> {
        if !folder.is_dir() {
            return Ok(None);
        }
        for (number, version) in versions(folder)? {
            let same = fs::metadata(&version.file).is_ok_and(|file| file.len() == content.len() as u64);
            if same && fs::read(&version.file)? == content {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// The version in memory, hosted if it is not served there.
    fn add(&self, name: &str, number: u32, folder: &Path, host: &Host<'_>) -> (Arc<Version>, Vec<Arc<Hosted>>) {
        let _change = self.changing();
        self.note(name);
        let known = self.models().get(name).cloned();
        if let Some(version) = known.as_ref().and_then(|model| model.versions.get(&number))
            && !matches!(version.state(), Some(State::Unloaded))
        {
            return (Arc::clone(version), Vec::new());
        }
        let model = known.unwrap_or_else(|| {
            host.metrics.register_new(name);
            Arc::new(Model { manifest: Manifest::read(&folder.join("model.toml")), versions: BTreeMap::new() })
        });
        let version = Version::new(folder.join(number.to_string()).join("model.onnx"));
        version.load(name, number, &model.manifest, host);
        let mut model = Model::clone(&model);
        model.versions.insert(number, Arc::clone(&version));
        if let Ok(manifest) = &model.manifest
            && version.hosted().is_some()
            && let Ok(chosen) = manifest.versions.chosen(model.versions.clone())
        {
            model.versions = chosen;
        }
        let gone = self.put(name, model, host);
        (version, gone)
    }
}

/// What a version is hosted with.
#[derive(Debug)]
pub(crate) struct Host<'a> {
    pub(crate) runtime: &'a OnnxRuntime,
    pub(crate) options: &'a ClassifierOptions,
    pub(crate) metrics: &'a Metrics,
}

/// Writes a version beside its place and moves it there; gives its number.
fn write(root: &Path, folder: &Path, name: &str, content: &[u8], manifest: &Manifest) -> io::Result<u32> {
    if !folder.is_dir() {
        let draft = fresh(root.join(format!("{DRAFT}{name}")))?;
        let version = draft.join("1");
        fs::create_dir(&version)?;
        synced(&version.join("model.onnx"), content)?;
        synced(&draft.join("model.toml"), toml::to_string(manifest).map_err(io::Error::other)?.as_bytes())?;
        settle(&version)?;
        settle(&draft)?;
        fs::rename(&draft, folder)?;
        settle(root)?;
        return Ok(1);
    }
    let draft = fresh(folder.join(format!("{DRAFT}version")))?;
    synced(&draft.join("model.onnx"), content)?;
    settle(&draft)?;
    let number = versions(folder)?.keys().next_back().map_or(1, |newest| newest.saturating_add(1));
    fs::rename(&draft, folder.join(number.to_string()))?;
    settle(folder)?;
    Ok(number)
}

/// An empty folder; what a server that was killed left there is gone.
fn fresh(folder: PathBuf) -> io::Result<PathBuf> {
    match fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => fs::create_dir(&folder)?,
    }
    Ok(folder)
}

fn synced(file: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(file)?;
    file.write_all(content)?;
    file.sync_all()
}

/// The names in a folder are on the disk.
fn settle(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> (tempfile::TempDir, Repository) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("net/3")).unwrap();
        let scanned = Repository::scan(root.path()).unwrap();
        (root, scanned)
    }

    #[test]
    fn a_version_has_the_next_number_and_a_model_that_is_new_its_manifest() {
        let (root, _) = repository();
        let manifest = Manifest { kind: "trained".to_owned(), labels: vec!["a".to_owned()], ..Manifest::default() };
        let put =
            |name: &str, content: &[u8]| write(root.path(), &root.path().join(name), name, content, &manifest).unwrap();
        fs::create_dir(root.path().join(".new-fresh")).unwrap();
        fs::write(root.path().join(".new-fresh/rest"), "of a server that was killed").unwrap();
        assert_eq!([put("net", b"a"), put("net", b"b"), put("fresh", b"c"), put("fresh", b"d")], [4, 5, 1, 2]);
        for (file, content) in [("net/4", "a"), ("net/5", "b"), ("fresh/1", "c"), ("fresh/2", "d")] {
            assert_eq!(fs::read_to_string(root.path().join(file).join("model.onnx")).unwrap(), content);
        }
        assert!(!root.path().join("net/model.toml").exists());
        assert_eq!(Manifest::read(&root.path().join("fresh/model.toml")), Ok(manifest));
        let names = |folder: &str| fs::read_dir(root.path().join(folder)).unwrap().count();
        assert_eq!([names(""), names("net"), names("fresh")], [2, 3, 3], "nothing is left beside them");
    }

    #[test]
    fn the_same_content_is_the_same_version() {
        let (root, repository) = repository();
        let folder = root.path().join("net");
        fs::write(folder.join("3/model.onnx"), "abc").unwrap();
        assert_eq!(repository.with_content(&folder, b"abc").unwrap(), Some(3));
        assert_eq!(repository.with_content(&folder, b"abd").unwrap(), None);
        assert_eq!(repository.with_content(&root.path().join("other"), b"abc").unwrap(), None);
    }

    #[test]
    fn a_model_whose_manifest_changes_pixels_receives_nothing() {
        let root = tempfile::tempdir().unwrap();
        for (name, manifest) in [
            ("plain", "[input]\nrange = [0, 1]"),
            ("mean", "[input]\nmean = [0.5]"),
            ("bytes", "[input]\nrange = [0, 255]"),
            ("odd", "labels = 3"),
            ("closed", "[versions]\nonly = [1]"),
        ] {
            fs::create_dir_all(root.path().join(name).join("1")).unwrap();
            fs::write(root.path().join(name).join("model.toml"), manifest).unwrap();
        }
        let repository = Repository::scan(root.path()).unwrap();
        assert!(repository.receives("new").is_ok() && repository.receives("plain").is_ok());
        for (name, says) in
            [("mean", "input.mean"), ("bytes", "input.range"), ("odd", "labels"), ("closed", "versions.only")]
        {
            assert!(repository.receives(name).unwrap_err().contains(says), "{name}");
        }
        assert_eq!(repository.writable("plain").and(repository.writable("new")), Ok(()));
    }
}
