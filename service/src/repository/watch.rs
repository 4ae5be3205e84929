//! Seeing what has changed in the repository's folder, and hosting that.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use super::{Host, Hosted, Repository, retire, scan::versions};
use crate::{core::Core, reload::Watched};

/// A folder that looks the same after so long is not being written any more.
const SETTLED: Duration = Duration::from_secs(1);
/// Folders within a version's folder that are looked into: models keep tensors in other files.
const DEEPEST: usize = 4;

/// What the files of each model look like, by its name.
pub(super) type Prints = BTreeMap<String, Print>;

/// What the files of a model look like: their paths, sizes, times of change and places on the disk.
pub(super) type Print = Vec<(PathBuf, u64, Option<SystemTime>, u64)>;

impl Repository {
    /// Hosts what is new or has changed in the folder since it was hosted, and takes out of service what is gone. What cannot be hosted is tried again when it
    /// changes again. Gives whether anything was changed, and what is hosted no more; see [`retire`]. Blocks.
    ///
    /// # Errors
    /// The folder cannot be read. Of each model that cannot be hosted: why; the others are hosted none the less.
    pub(crate) fn look(&self, host: &Host<'_>) -> (bool, Vec<Arc<Hosted>>, Result<(), String>) {
        let (mut changed, mut gone, mut problems) = (false, Vec::new(), Vec::new());
        match self.differences() {
            Err(e) => problems.push(format!("{} cannot be read: {e}", self.root.display())),
            Ok(differences) => {
                for (name, there) in differences {
                    let done = if there { self.reload("models", &name, host) } else { Ok(self.remove(&name, host)) };
                    match done {
                        Ok(replaced) => {
                            changed = true;
                            gone.extend(replaced);
                        }
                        Err(error) => problems.push(error.to_string()),
                    }
                }
            }
        }
        (changed, gone, if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) })
    }

    /// Names of models whose files differ from those that were hosted, and whether there are any. What is being written is left for later.
    fn differences(&self) -> io::Result<Vec<(String, bool)>> {
        let first = prints(&self.root)?;
        let differ = |now: &Prints| -> Vec<String> {
            let seen = self.seen();
            let names = now.keys().chain(seen.keys().filter(|name| !now.contains_key(*name)));
            names.filter(|name| now.get(*name) != seen.get(*name)).cloned().collect()
        };
        let names = differ(&first);
        if names.is_empty() {
            return Ok(Vec::new());
        }
        thread::sleep(SETTLED);
        let second = prints(&self.root)?;
        let settled = names.into_iter().filter(|name| first.get(name) == second.get(name));
        Ok(settled.map(|name| (second.contains_key(&name), name)).map(|(there, name)| (name, there)).collect())
    }

    /// The files of a model are known as they are now.
    pub(super) fn note(&self, name: &str) {
        let print = print(&self.root.join(name)).ok().flatten();
        let mut seen = self.seen();
        match print {
            Some(print) => seen.insert(name.to_owned(), print),
            None => seen.remove(name),
        };
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Prints> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the files of all models look like.
pub(super) fn prints(root: &Path) -> io::Result<Prints> {
    let mut all = Prints::new();
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with('.') || !path.is_dir() {
            continue;
        }
        if let Some(print) = print(&path)? {
            all.insert(name, print);
        }
    }
    Ok(all)
}

/// What the files of one model look like; `None` where there is no version. A file that goes while it is looked at is none.
fn print(folder: &Path) -> io::Result<Option<Print>> {
    let versions = match versions(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        versions => versions?,
    };
    let mut print = Print::new();
    add(&folder.join("model.toml"), 0, &mut print);
    for version in versions.values() {
        if let Some(folder) = version.file.parent() {
            add(folder, 0, &mut print);
        }
    }
    print.sort();
    Ok((!versions.is_empty()).then_some(print))
}

fn add(path: &Path, depth: usize, print: &mut Print) {
    let Ok(about) = fs::metadata(path) else { return };
    if about.is_file() {
        print.push((path.to_owned(), about.len(), about.modified().ok(), about.ino()));
    } else if about.is_dir() && depth < DEEPEST {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.for_each(|entry| add(&entry.path(), depth + 1, print));
    }
}

/// The folder of the models, as what is looked at every few seconds.
pub(crate) struct Folder(pub(crate) Arc<Core>);

impl Watched for Folder {
    fn name(&self) -> &'static str {
        "models"
    }

    fn reload(&self, _: SystemTime) -> Result<bool, String> {
        let core = &self.0;
        if !core.lifecycle.loaded().is_cancelled() {
            return Ok(false);
        }
        let (changed, gone, outcome) = core.repository.look(&core.host(&core.hosting()));
        if changed {
            core.changed.notify_one();
        }
        if !gone.is_empty() {
            tokio::spawn(retire(gone, core.config.shutdown.drain()));
        }
        outcome.map(|()| changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_replaced_and_removed_is_seen() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("net/1/model.onnx");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::create_dir_all(root.path().join(".draft/1")).unwrap();
        fs::create_dir_all(root.path().join("notes")).unwrap();
        fs::write(&file, "a").unwrap();
        let repository = Repository::scan(root.path()).unwrap();
        let differences = || repository.differences().unwrap();
        assert_eq!(differences(), []);

        // The same size and perhaps the same time: it is another file.
        fs::write(root.path().join("new"), "b").unwrap();
        fs::rename(root.path().join("new"), &file).unwrap();
        assert_eq!(differences(), [("net".to_owned(), true)]);
        repository.note("net");
        assert_eq!(differences(), []);

        fs::create_dir_all(root.path().join("net/2/weights")).unwrap();
        fs::write(root.path().join("net/2/weights/w.bin"), "w").unwrap();
        fs::create_dir_all(root.path().join("other/1")).unwrap();
        assert_eq!(differences(), [("net".to_owned(), true), ("other".to_owned(), true)]);
        fs::remove_dir_all(root.path().join("net")).unwrap();
        assert_eq!(differences(), [("other".to_owned(), true), ("net".to_owned(), false)]);
    }

    #[test]
    fn what_is_still_being_written_is_left_for_later() {
        let root = tempfile::tempdir().unwrap();
        let repository = Repository::scan(root.path()).unwrap();
        let file = root.path().join("net/1/model.onnx");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let found = std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                for n in 0..30 {
                    fs::write(&file, vec![0; n]).unwrap();
                    thread::sleep(SETTLED / 20);
                }
            });
            let found = repository.differences().unwrap();
            writing.join().unwrap();
            found
        });
        assert_eq!(found, []);
        assert_eq!(repository.differences().unwrap(), [("net".to_owned(), true)]);
    }
}
