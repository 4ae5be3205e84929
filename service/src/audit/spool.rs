//! Samples that clients handed over: files by the SHA-256 of what they hold.
//!
//! ```text
//! STATE/data/<sha256>    whole
//! STATE/data/.new-*      being received; worth nothing to a server that starts
//! ```
//!
//! A limit is looked at before anything is written, and a file appears under its name when it is whole and on the disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::{config, status::CallError};

/// Files whose name begins so are not whole.
const DRAFT: &str = ".new-";
/// How long what no audit refers to is kept for whoever uploaded it or asked for it.
const GRACE: Duration = Duration::from_secs(3600);

/// The folder of the samples.
#[derive(Debug)]
pub(crate) struct Spool {
    place: Place,
    /// Most bytes of one file.
    most: u64,
    /// Most bytes of all.
    most_in_all: u64,
    held: Mutex<Held>,
}

#[derive(Debug)]
enum Place {
    Kept(PathBuf),
    /// Made when it is needed, and removed with the server.
    Temporary(Mutex<Option<TempDir>>),
}

#[derive(Debug, Default)]
struct Held {
    /// Bytes of all files, those included that are being received.
    bytes: u64,
    /// Files that are being received.
    drafts: u64,
    /// When files were last asked for.
    asked: BTreeMap<String, Instant>,
}

impl Spool {
    /// The folder in `state`, without what was not whole; `None`: a temporary one.
    ///
    /// # Errors
    /// It cannot be used.
    pub(super) fn open(state: Option<&Path>, limits: &config::Audits) -> io::Result<Self> {
        let mut held = Held::default();
        let place = match state {
            None => Place::Temporary(Mutex::default()),
            Some(state) => {
                let folder = state.join("data");
                fs::create_dir_all(&folder)?;
                for entry in fs::read_dir(&folder)? {
                    let entry = entry?;
                    if entry.file_name().to_string_lossy().starts_with(DRAFT) {
                        fs::remove_file(entry.path())?;
                    } else {
                        held.bytes += entry.metadata()?.len();
                    }
                }
                Place::Kept(folder)
            }
        };
        let (most, most_in_all) = (limits.max_upload_bytes, limits.max_data_bytes);
        Ok(Self { place, most, most_in_all, held: Mutex::new(held) })
    }

    /// The file of this content, which is kept for a while from now on; `None`: it is not there.
    ///
    /// # Errors
    /// `content`, in `field`, is no digest; the folder cannot be used.
    pub(crate) fn find(&self, field: &str, content: &str) -> Result<Option<PathBuf>, CallError> {
        check_digest(field, content)?;
        let file = self.folder().map_err(|e| self.failed(&e))?.join(content);
        let mut held = self.locked();
        if !file.is_file() {
            return Ok(None);
        }
        held.asked.insert(content.to_owned(), Instant::now());
        Ok(Some(file))
    }

    /// Begins to receive `size` bytes with this content.
    ///
    /// # Errors
    /// It is no digest; there are none or too many bytes; the folder cannot be used.
    pub(crate) fn receive(&self, content: &str, size: u64) -> Result<Draft<'_>, CallError> {
        check_digest("header.content", content)?;
        if size == 0 {
            return Err(CallError::field("header.size", "expected the number of bytes that are to come, got 0"));
        }
        let limit = |what: &str, asked, limit, key, remedy| {
            Err(CallError::Limit { what: what.to_owned(), asked, limit, key, remedy })
        };
        if size > self.most {
            return limit("header.size: bytes of samples", size, self.most, "audits.max_upload_bytes", "upload fewer");
        }
        let folder = self.folder().map_err(|e| self.failed(&e))?;
        let mut held = self.locked();
        let in_all = held.bytes.saturating_add(size);
        if in_all > self.most_in_all {
            let remedy = "delete audits that are not needed any more";
            let what = "header.size: bytes of all samples on the server, these included";
            return limit(what, in_all, self.most_in_all, "audits.max_data_bytes", remedy);
        }
        held.drafts += 1;
        let path = folder.join(format!("{DRAFT}{}", held.drafts));
        let file = File::create(&path).map_err(|e| self.failed(&e))?;
        held.bytes = in_all;
        drop(held);
        let (content, whole) = (content.to_owned(), false);
        Ok(Draft { spool: self, file, path, content, size, received: 0, hash: Sha256::new(), whole })
    }

    /// Removes what is not referred to, unless somebody asked for it a short while ago.
    pub(super) fn sweep(&self, referred: &BTreeSet<String>) {
        let Some(folder) = self.existing() else { return };
        let mut held = self.locked();
        held.asked.retain(|_, at| at.elapsed() < GRACE);
        let files = match fs::read_dir(&folder) {
            Ok(files) => files,
            Err(error) => {
                tracing::error!(folder = %folder.display(), %error, "uploaded samples cannot be listed");
                return;
            }
        };
        for file in files.flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if is_digest(&name) && !referred.contains(&name) && !held.asked.contains_key(&name) {
                let bytes = file.metadata().map_or(0, |metadata| metadata.len());
                match fs::remove_file(file.path()) {
                    Ok(()) => held.bytes = held.bytes.saturating_sub(bytes),
                    Err(error) => tracing::error!(content = name, %error, "uploaded samples cannot be removed"),
                }
            }
        }
    }

    /// The folder, which is made where it is temporary and was not needed yet.
    fn folder(&self) -> io::Result<PathBuf> {
        match &self.place {
            Place::Kept(folder) => Ok(folder.clone()),
            Place::Temporary(made) => {
                let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
                let folder = match made.take() {
                    Some(folder) => folder,
                    None => tempfile::Builder::new().prefix("assay-").tempdir()?,
                };
                Ok(made.insert(folder).path().to_owned())
            }
        }
    }

    /// The folder, if there is one.
    fn existing(&self) -> Option<PathBuf> {
        match &self.place {
            Place::Kept(folder) => Some(folder.clone()),
            Place::Temporary(made) => {
                let made = made.lock().unwrap_or_else(PoisonError::into_inner);
                made.as_ref().map(|folder| folder.path().to_owned())
            }
        }
    }

    /// What the system says of the folder. A quota and a limit on the size of files end what can be written as a full disk does.
    fn failed(&self, error: &io::Error) -> CallError {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let folder =
            self.existing().map_or_else(|| "the folder of temporary files".to_owned(), |f| f.display().to_string());
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => CallError::Full(format!(
                "uploaded samples: {folder} takes no more of them ({error}); make room, or delete audits that are not needed any more"
            )),
            _ => CallError::Internal(format!("uploaded samples: {folder}: {error}")),
        }
    }

    fn locked(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that is being received; it is gone unless [`Draft::finish`] accepts it.
#[derive(Debug)]
pub(crate) struct Draft<'s> {
    spool: &'s Spool,
    file: File,
    path: PathBuf,
    content: String,
    size: u64,
    received: u64,
    hash: Sha256,
    whole: bool,
}

impl Draft<'_> {
    /// Writes the next bytes.
    ///
    /// # Errors
    /// They are more than were announced; they cannot be written.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), CallError> {
        self.received += bytes.len() as u64;
        if self.received > self.size {
            let (size, received) = (self.size, self.received);
            return Err(CallError::field("chunk", format!("expected {size} bytes in all, got {received} or more")));
        }
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(|e| self.spool.failed(&e))
    }

    /// Puts the file under its name.
    ///
    /// # Errors
    /// Bytes are missing; they have another digest; the file cannot be written.
    pub(crate) fn finish(mut self) -> Result<String, CallError> {
        let (size, received) = (self.size, self.received);
        if received < size {
            return Err(CallError::field("chunk", format!("expected {size} bytes in all, got {received}")));
        }
        let digest = hexadecimal(&std::mem::take(&mut self.hash).finalize());
        if digest != self.content {
            let problem = format!("expected the SHA-256 of the bytes, which is {digest}, got {}", self.content);
            return Err(CallError::field("header.content", problem));
        }
        self.file.sync_all().map_err(|e| self.spool.failed(&e))?;
        let folder = self.spool.folder().map_err(|e| self.spool.failed(&e))?;
        let file = folder.join(&digest);
        let mut held = self.spool.locked();
        let before = fs::metadata(&file).map_or(0, |metadata| metadata.len());
        fs::rename(&self.path, &file).map_err(|e| self.spool.failed(&e))?;
        self.whole = true;
        // Somebody else was quicker with the same.
        held.bytes = held.bytes.saturating_sub(before);
        held.asked.insert(digest.clone(), Instant::now());
        drop(held);
        File::open(&folder).and_then(|folder| folder.sync_all()).map_err(|e| self.spool.failed(&e))?;
        Ok(digest)
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.whole {
            // Where it cannot be removed the next server does it.
            let _ = fs::remove_file(&self.path);
            let mut held = self.spool.locked();
            held.bytes = held.bytes.saturating_sub(self.size);
        }
    }
}

fn check_digest(field: &str, content: &str) -> Result<(), CallError> {
    match is_digest(content) {
        true => Ok(()),
        false => Err(CallError::field(field, format!("expected a SHA-256, 64 digits 0-9 and a-f, got {content:?}"))),
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn spool(state: &Path, most: u64, most_in_all: u64) -> Spool {
        let limits = config::Audits { max_upload_bytes: most, max_data_bytes: most_in_all, ..Config::default().audits };
        Spool::open(Some(state), &limits).unwrap()
    }

    fn names(state: &Path) -> Vec<String> {
        let files = fs::read_dir(state.join("data")).unwrap();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn put(spool: &Spool) {
        let mut draft = spool.receive(ABC, 3).unwrap();
        draft.write(b"a").unwrap();
        draft.write(b"bc").unwrap();
        assert_eq!(draft.finish().unwrap(), ABC);
    }

    #[test]
    fn what_was_received_is_found_by_its_digest() {
        let state = tempfile::tempdir().unwrap();
        let spool = spool(state.path(), 10, 10);
        assert_eq!(spool.find("content", ABC), Ok(None));
        put(&spool);
        put(&spool);
        let file = spool.find("content", ABC).unwrap().unwrap();
        assert_eq!(fs::read(file).unwrap(), b"abc");
        assert_eq!((names(state.path()), spool.locked().bytes), (vec![ABC.to_owned()], 3));
    }

    #[test]
    fn nothing_but_a_digest_names_a_file() {
        let state = tempfile::tempdir().unwrap();
        let spool = spool(state.path(), 10, 10);
        for name in ["", "../audits.db", &ABC.to_uppercase(), &ABC[1..]] {
            assert!(spool.find("content", name).unwrap_err().to_string().starts_with("content: expected a SHA-256"));
            assert!(spool.receive(name, 3).is_err());
        }
    }

    #[test]
    fn what_is_wrong_leaves_nothing_behind() {
        let state = tempfile::tempdir().unwrap();
        let spool = spool(state.path(), 4, 6);
        let refused = |size, parts: &[&[u8]]| {
            let mut draft = spool.receive(ABC, size)?;
            parts.iter().try_for_each(|part| draft.write(part))?;
            draft.finish()
        };
        for (size, parts, says) in [
            (0, &[][..], "expected the number of bytes"),
            (5, &[], "5 is more than this server's limit of 4; upload fewer, or raise audits.max_upload_bytes"),
            (4, &[b"abc".as_slice()], "expected 4 bytes in all, got 3"),
            (2, &[b"abc".as_slice()], "expected 2 bytes in all, got 3 or more"),
            (3, &[b"abd".as_slice()], "expected the SHA-256 of the bytes, which is a52d"),
        ] {
            let error = refused(size, parts).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
            assert_eq!((names(state.path()).len(), spool.locked().bytes), (0, 0), "{says}");
        }
        put(&spool);
        let error = refused(4, &[]).unwrap_err().to_string();
        assert!(error.contains("7 is more") && error.contains("audits.max_data_bytes"), "{error}");
    }

    #[test]
    fn what_nobody_refers_to_goes_when_nobody_asked_for_it() {
        let state = tempfile::tempdir().unwrap();
        put(&spool(state.path(), 10, 10));
        fs::write(state.path().join("data/.new-7"), "ab").unwrap();
        let again = spool(state.path(), 10, 10);
        assert_eq!((names(state.path()).len(), again.locked().bytes), (1, 3));
        again.sweep(&BTreeSet::from([ABC.to_owned()]));
        again.find("content", ABC).unwrap();
        again.sweep(&BTreeSet::new());
        assert_eq!(names(state.path()).len(), 1);
        let later = spool(state.path(), 10, 10);
        later.sweep(&BTreeSet::new());
        assert_eq!((names(state.path()).len(), later.locked().bytes), (0, 0));
    }

    #[test]
    fn a_temporary_folder_goes_with_its_server() {
        let spool = Spool::open(None, &Config::default().audits).unwrap();
        assert_eq!(spool.existing(), None);
        put(&spool);
        let folder = spool.existing().unwrap();
        assert!(folder.join(ABC).exists());
        drop(spool);
        assert!(!folder.exists());
    }
}
