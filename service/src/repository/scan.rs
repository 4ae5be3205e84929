//! Reading the repository's folders.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, RwLock},
};

use super::{Manifest, Model, Repository, Version, watch::prints};
use crate::error::ServerError;

/// Longest name of a model, in bytes.
const LONGEST_NAME: usize = 128;
/// What a name may be, in words.
pub(crate) const NAME: &str = "1 to 128 letters, digits, `.`, `_` or `-`, a letter or digit first";

impl Repository {
    /// Reads the folders of the repository without loading a model.
    ///
    /// A folder whose name starts with a dot or that holds neither a version nor a `model.toml` is no model and is passed over.
    ///
    /// # Errors
    /// The folder cannot be read, or a model has a name that is not allowed.
    pub(crate) fn scan(root: &Path) -> Result<Self, ServerError> {
        let failed = |reason: String| ServerError::Repository { path: root.to_owned(), reason };
        let mut models = BTreeMap::new();
        let seen = prints(root).map_err(|e| failed(e.to_string()))?;
        for folder in folders(root).map_err(|e| failed(e.to_string()))? {
            let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let versions = versions(&folder).map_err(|e| failed(format!("{name}: {e}")))?;
            let described = folder.join("model.toml").exists();
            if name.starts_with('.') || (versions.is_empty() && !described) {
                continue;
            }
            if !is_name(&name) {
                return Err(failed(format!("{name:?} cannot be the name of a model: expected {NAME}")));
            }
            if versions.is_empty() {
                return Err(failed(format!("{name} has a model.toml and no version; expected {name}/1/model.onnx")));
            }
            let (manifest, versions) = chosen(Manifest::read(&folder.join("model.toml")), versions);
            models.insert(name, Arc::new(Model { manifest, versions }));
        }
        Ok(Self {
            root: root.to_owned(),
            models: RwLock::new(Arc::new(models)),
            changing: Mutex::new(()),
            seen: Mutex::new(seen),
        })
    }
}

/// The versions that `manifest` has served. Where it names one that is not there, it is wrong, and all of them are kept to say so.
fn chosen(manifest: Result<Manifest, String>, versions: Numbered) -> (Result<Manifest, String>, Numbered) {
    match manifest {
        Err(reason) => (Err(reason), versions),
        Ok(manifest) => match manifest.versions.chosen(versions.clone()) {
            Ok(chosen) => (Ok(manifest), chosen),
            Err(reason) => (Err(reason), versions),
        },
    }
}

/// Versions by number.
type Numbered = BTreeMap<u32, Arc<Version>>;

/// The versions in a model's folder: its subfolders whose name is a positive integer.
pub(super) fn versions(folder: &Path) -> io::Result<BTreeMap<u32, Arc<Version>>> {
    let numbered = folders(folder)?.into_iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?;
        let number: u32 = name.parse().ok()?;
        // `01` would be a second name of `1`.
        (number > 0 && number.to_string() == name).then_some((number, path))
    });
    Ok(numbered.map(|(number, path)| (number, Version::new(path.join("model.onnx")))).collect())
}

/// The subfolders of a folder, through links too: Kubernetes mounts volumes that way.
fn folders(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    Ok(folders)
}

/// Whether a model can have this name.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= LONGEST_NAME
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(folders: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for folder in folders {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        root
    }

    #[test]
    fn versions_are_positive_integers_and_ordered_as_numbers() {
        let root = repository(&["net/2", "net/10", "net/01", "net/0", "net/latest"]);
        let scanned = Repository::scan(root.path()).unwrap();
        let versions: Vec<u32> = scanned.models()["net"].versions.keys().copied().collect();
        assert_eq!(versions, [2, 10]);
    }

    #[test]
    fn folders_that_are_no_models_are_passed_over() {
        let root = repository(&["net/1", ".git/1", "lost+found", "notes"]);
        let scanned = Repository::scan(root.path()).unwrap();
        assert_eq!(scanned.models().keys().collect::<Vec<_>>(), ["net"]);
    }

    #[test]
    fn a_name_that_is_not_allowed_is_refused() {
        let root = repository(&["my net/1"]);
        let message = Repository::scan(root.path()).unwrap_err().to_string();
        assert!(message.contains("\"my net\" cannot be the name of a model"), "{message}");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let message = Repository::scan(Path::new("no/such")).unwrap_err().to_string();
        assert!(message.contains("no/such") && message.contains("`models`"), "{message}");
    }
}
