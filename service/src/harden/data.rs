//! Where recipes may read: the folder of training data and, unless the configuration says otherwise, nothing else.

use std::{
    collections::HashSet,
    fs, io,
    path::{Component, Path, PathBuf},
};

/// The folder of training data.
#[derive(Debug)]
pub(super) struct Data {
    /// Canonical.
    pub(super) root: PathBuf,
    /// Whether recipes stay in it.
    pub(super) confine: bool,
}

impl Data {
    /// What a recipe's `data.path` means.
    ///
    /// # Errors
    /// It leaves the folder and may not, or there is no such file or folder; the text says what was expected.
    pub(super) fn find(&self, path: &str) -> Result<PathBuf, String> {
        if self.confine {
            return within(&self.root, path);
        }
        let path = self.root.join(path);
        path.canonicalize().map_err(|e| format!("{}: {e}", path.display()))
    }
}

/// What a path means below `root`, which is canonical.
///
/// # Errors
/// It leaves the folder: it is absolute, has a `..` in it, or it, something in it or a file beside it is a link that leads out; or there is no such
/// file or folder. The text says what was expected.
fn within(root: &Path, path: &str) -> Result<PathBuf, String> {
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if path.is_empty() || !plain {
        return Err(format!(
            "\"{path}\" leaves this server's folder of training data; expected a path relative to that folder, without `..`"
        ));
    }
    let failed = |e: io::Error| format!("\"{path}\" in this server's folder of training data: {e}");
    let found = root.join(path).canonicalize().map_err(failed)?;
    let readable = || if found.is_dir() { holds(root, &found, &mut HashSet::new()) } else { beside(root, &found) };
    if !found.starts_with(root) || !readable().map_err(failed)? {
        return Err(format!(
            "\"{path}\" has a link that leads out of this server's folder of training data; copy the files into it"
        ));
    }
    Ok(found)
}

/// Whether what a folder holds, at any depth and through links, is inside of `root`. `seen` are the folders that were looked at.
fn holds(root: &Path, folder: &Path, seen: &mut HashSet<PathBuf>) -> io::Result<bool> {
    if !seen.insert(folder.to_owned()) {
        return Ok(true);
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if !kind.is_symlink() && !kind.is_dir() {
            continue;
        }
        // A link that leads nowhere is read by nobody.
        let Ok(target) = entry.path().canonicalize() else { continue };
        if !target.starts_with(root) || (target.is_dir() && !holds(root, &target, seen)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the files beside a file, where its labels are, are inside of `root`.
fn beside(root: &Path, file: &Path) -> io::Result<bool> {
    let Some(folder) = file.parent() else { return Ok(false) };
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let target = if entry.file_type()?.is_symlink() { entry.path().canonicalize().ok() } else { None };
        if target.is_some_and(|target| target.is_file() && !target.starts_with(root)) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn paths_stay_in_the_folder() {
        let outside = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in ["pictures/a", "linked", "single"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        for name in ["pictures/a/0.png", "single/images", "images.npz"] {
            fs::write(root.join(name), "").unwrap();
        }
        fs::write(outside.path().join("secret"), "").unwrap();
        symlink(root.join("pictures"), root.join("same")).unwrap();
        symlink(outside.path(), root.join("out")).unwrap();
        symlink(outside.path().join("secret"), root.join("linked/file")).unwrap();
        symlink(root.join("linked"), root.join("pictures/b")).unwrap();
        symlink(outside.path().join("secret"), root.join("single/labels")).unwrap();
        for (path, found) in [("pictures/a", "pictures/a"), ("./same/a", "pictures/a"), ("images.npz", "images.npz")] {
            assert_eq!(within(&root, path).unwrap(), root.join(found), "{path}");
        }
        let absolute = outside.path().join("secret");
        for path in ["", "..", "pictures/../../x", "/etc/passwd", absolute.to_str().unwrap()] {
            assert!(within(&root, path).unwrap_err().contains("without `..`"), "{path}");
        }
        for path in ["out", "out/secret", "pictures", "linked", "linked/file", "single/images"] {
            assert!(within(&root, path).unwrap_err().contains("leads out"), "{path}");
        }
        assert!(within(&root, "nothing").unwrap_err().contains("\"nothing\""));
        let anywhere = Data { root, confine: false };
        for path in ["out/secret", "../..", absolute.to_str().unwrap()] {
            assert!(anywhere.find(path).is_ok(), "{path}");
        }
    }
}
