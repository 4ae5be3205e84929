//! Jobs on the disk: a folder each, which survives the server.
//!
//! ```text
//! STATE/lock                the server that works in it
//! STATE/<id>/recipe.toml    as it was given
//! STATE/<id>/job.json       what has become of it: a [`Record`]
//! STATE/<id>/run/           the checkpoints, until it is done
//! ```
//!
//! A folder appears with all of its files, and a record is replaced as a whole, so that a server that is killed leaves nothing half written.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// The version of the format of records.
const SCHEMA: u32 = 2;
/// Folders whose name begins so are not finished.
const DRAFT: &str = ".new-";

/// What is known of a job beside its recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    schema: u32,
    /// Whose it is; `None`: nobody was asked.
    pub(crate) owner: Option<String>,
    /// The version that the recipe's model was when the job was taken; `None`: it begins with fresh weights.
    pub(crate) parent: Option<Parent>,
    /// What has become of it.
    pub(crate) state: Kept,
}

impl Record {
    pub(crate) fn new(owner: Option<String>, parent: Option<Parent>, state: Kept) -> Self {
        Self { schema: SCHEMA, owner, parent, state }
    }
}

/// A version of a hosted model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parent {
    pub(crate) name: String,
    pub(crate) version: u32,
}

/// What has become of a job, as far as the disk has to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kept {
    /// It goes on by itself when a server starts.
    Unfinished,
    /// Somebody stopped it.
    Stopped,
    /// Why it failed.
    Failed(String),
    /// What it made.
    Done(Made),
}

/// The version that a job made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Made {
    pub(crate) version: u32,
    /// Hexadecimal SHA-256 of its file.
    pub(crate) digest: String,
}

/// A job as it was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) recipe: String,
    pub(crate) record: Record,
}

/// The folder of the jobs.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    /// Locked as long as it is open, by the system: also a server that is killed gives it back.
    lock: File,
}

impl Store {
    /// Makes the folder where there is none, and takes it for this server.
    ///
    /// # Errors
    /// It cannot be written, or another server has it.
    pub(crate) fn open(root: &Path) -> Result<Self, String> {
        let failed = |e: io::Error| e.to_string();
        fs::create_dir_all(root).map_err(failed)?;
        let lock = File::create(root.join("lock")).map_err(failed)?;
        lock.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => "another server works in it".to_owned(),
            TryLockError::Error(e) => e.to_string(),
        })?;
        Ok(Self { root: root.to_owned(), lock })
    }

    /// Gives the folder back to other servers, which nothing may be written to from here on.
    pub(super) fn release(&self) {
        // Else it is given back with the process.
        drop(self.lock.unlock());
    }

    /// The jobs by id, or why a folder holds none that can be read. Removes what was not finished when a server ended.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(crate) fn jobs(&self) -> Result<BTreeMap<u64, Result<Found, String>>, String> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(&self.root).map_err(|e| e.to_string())? {
            let folder = entry.map_err(|e| e.to_string())?.path();
            let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if name.starts_with(DRAFT) {
                // It was never promised to anybody; where it cannot be removed it does no harm.
                let _ = fs::remove_dir_all(&folder);
            } else if let Ok(id) = name.parse() {
                found.insert(id, read(&folder).map_err(|reason| format!("{}: {reason}", folder.display())));
            }
        }
        Ok(found)
    }

    /// Writes a job that is new.
    ///
    /// # Errors
    /// It cannot be written, or there is one with this id.
    pub(crate) fn create(&self, id: u64, job: &Found) -> io::Result<()> {
        let draft = self.root.join(format!("{DRAFT}{id}"));
        fs::create_dir(&draft)?;
        assay_harden::replace(&draft.join("recipe.toml"), job.recipe.as_bytes())?;
        assay_harden::replace(&draft.join("job.json"), &encoded(&job.record)?)?;
        fs::rename(&draft, self.folder(id))?;
        File::open(&self.root)?.sync_all()
    }

    /// Replaces what is known of a job.
    ///
    /// # Errors
    /// It cannot be written; what was known before still is.
    pub(crate) fn save(&self, id: u64, record: &Record) -> io::Result<()> {
        assay_harden::replace(&self.folder(id).join("job.json"), &encoded(record)?)
    }

    /// The folder of a job's checkpoints.
    pub(crate) fn run(&self, id: u64) -> PathBuf {
        self.folder(id).join("run")
    }

    fn folder(&self, id: u64) -> PathBuf {
        self.root.join(id.to_string())
    }
}

fn encoded(record: &Record) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec_pretty(record)?)
}

fn read(folder: &Path) -> Result<Found, String> {
    let text = |name: &str| fs::read_to_string(folder.join(name)).map_err(|e| format!("{name}: {e}"));
    let record: Record = serde_json::from_str(&text("job.json")?).map_err(|e| format!("job.json: {e}"))?;
    if record.schema != SCHEMA {
        return Err(format!("job.json: its schema is {}, and this server reads {SCHEMA}", record.schema));
    }
    Ok(Found { recipe: text("recipe.toml")?, record })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: Kept) -> Found {
        let parent = Some(Parent { name: "net".to_owned(), version: 2 });
        Found { recipe: "schema = 1\n".to_owned(), record: Record::new(Some("ci".to_owned()), parent, state) }
    }

    #[test]
    fn what_is_written_is_found_again() {
        let root = tempfile::tempdir().unwrap();
        let made = Kept::Done(Made { version: 3, digest: "ab".to_owned() });
        let states = [Kept::Unfinished, Kept::Stopped, Kept::Failed("why".to_owned()), made];
        {
            let store = Store::open(root.path()).unwrap();
            for (id, state) in (1..).zip(&states) {
                store.create(id, &job(Kept::Unfinished)).unwrap();
                store.save(id, &job(state.clone()).record).unwrap();
            }
            assert!(store.create(1, &job(Kept::Stopped)).is_err(), "an id is given once");
        }
        let found = Store::open(root.path()).unwrap().jobs().unwrap();
        let expected: Vec<_> = (1..).zip(states.map(|state| Ok(job(state)))).collect();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_cannot_be_read_is_named_and_what_was_not_finished_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        for id in 1..=3 {
            store.create(id, &job(Kept::Stopped)).unwrap();
        }
        fs::write(root.path().join("1/job.json"), "{").unwrap();
        fs::remove_file(root.path().join("2/recipe.toml")).unwrap();
        fs::create_dir(root.path().join(".new-4")).unwrap();
        fs::create_dir(root.path().join("notes")).unwrap();
        let found = store.jobs().unwrap();
        assert!(found[&1].as_ref().unwrap_err().contains("job.json"), "{found:?}");
        assert!(found[&2].as_ref().unwrap_err().contains("recipe.toml"), "{found:?}");
        assert!(found[&3].is_ok() && found.len() == 3, "{found:?}");
        assert!(!root.path().join(".new-4").exists() && root.path().join("1").exists());
    }

    #[test]
    fn a_folder_has_one_server() {
        let root = tempfile::tempdir().unwrap();
        let _first = Store::open(root.path()).unwrap();
        assert_eq!(Store::open(root.path()).unwrap_err(), "another server works in it");
    }
}
