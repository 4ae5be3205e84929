//! Finding and starting ONNX Runtime's shared library.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;

use crate::native::{self, Unloadable};

/// Oldest ONNX Runtime that is accepted: 1.24.
const OLDEST: (u32, u32) = (1, ort::MINOR_VERSION);

/// Where the shared library is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Library {
    /// Its file. `None`: the file named by the environment variable `ORT_DYLIB_PATH`; else `libonnxruntime.so*` (`.dylib`,
    /// `.dll`) beside the executable; else in a folder `onnxruntime` beside it or in one of its three parent folders.
    pub path: Option<PathBuf>,
}

/// ONNX Runtime, started. One per process; clones are cheap and share it.
#[derive(Clone, Debug)]
pub struct OnnxRuntime {
    inner: Arc<Started>,
}

#[derive(Debug)]
struct Started {
    path: PathBuf,
    version: String,
    environment: Environment,
}

/// `ort` keeps one environment per process and cannot start a second one after the first is gone: it is kept for ever.
static STARTED: Mutex<Option<OnnxRuntime>> = Mutex::new(None);

impl OnnxRuntime {
    /// Finds the library, checks its version and starts it with its telemetry off. A second call returns what the first
    /// one started.
    ///
    /// Call it early in `main`: it may set the environment variable `ORT_DISABLE_TELEMETRY`.
    ///
    /// # Errors
    /// The library is missing, is not ONNX Runtime or is older than 1.24; another file was loaded before.
    pub fn load(library: &Library) -> Result<Self, LibraryError> {
        let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*started {
            return match &library.path {
                Some(path) if !same_file(path, runtime.path()) => {
                    Err(LibraryError::AlreadyLoaded { loaded: runtime.path().to_owned(), wanted: path.clone() })
                }
                _ => Ok(runtime.clone()),
            };
        }
        let path = match (&library.path, std::env::var_os("ORT_DYLIB_PATH").filter(|v| !v.is_empty())) {
            (Some(path), _) => named(path, "the configuration")?,
            (None, Some(path)) => named(Path::new(&path), "the environment variable ORT_DYLIB_PATH")?,
            (None, None) => search(&places())?,
        };
        let runtime = start(path)?;
        tracing::info!(path = %runtime.path().display(), version = runtime.version(), "ONNX Runtime started");
        *started = Some(runtime.clone());
        Ok(runtime)
    }

    /// Version of the library, for example `1.31.1`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.inner.version
    }

    /// File of the library.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The environment that sessions are opened in, for callers that open sessions of their own.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.inner.environment
    }
}

/// ONNX Runtime could not be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LibraryError {
    /// No library where one is looked for.
    #[error(
        "ONNX Runtime's shared library was not found. Looked in: {}. Run `make setup`, or set ORT_DYLIB_PATH to the file",
        list(.0)
    )]
    NotFound(Vec<PathBuf>),
    /// The file that was named does not exist.
    #[error(
        "{named_by} names {} as ONNX Runtime's shared library, and there is no such file. Run `make setup`, or set \
         ORT_DYLIB_PATH to the file",
        path.display()
    )]
    NoSuchFile {
        /// The file.
        path: PathBuf,
        /// Who named it.
        named_by: &'static str,
    },
    /// The file is not ONNX Runtime.
    #[error("{} is not ONNX Runtime's shared library: {reason}. Run `make setup`, or set ORT_DYLIB_PATH to the file", path.display())]
    NotALibrary {
        /// The file.
        path: PathBuf,
        /// What the system's loader said.
        reason: String,
    },
    /// The library is too old.
    #[error(
        "{} is ONNX Runtime {found}; assay needs {}.{} or newer. Run `make setup`, or set ORT_DYLIB_PATH to a newer file",
        path.display(), OLDEST.0, OLDEST.1
    )]
    TooOld {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// A process can load one library.
    #[error(
        "ONNX Runtime was loaded from {} before, and a process can load it only once: {} was not loaded",
        loaded.display(), wanted.display()
    )]
    AlreadyLoaded {
        /// What is loaded.
        loaded: PathBuf,
        /// What was asked for.
        wanted: PathBuf,
    },
    /// The library did not start.
    #[error("ONNX Runtime at {} did not start: {reason}", path.display())]
    Start {
        /// The file.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
}

fn list(places: &[PathBuf]) -> String {
    places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// A library that someone named must be there: nothing else is tried.
fn named(path: &Path, named_by: &'static str) -> Result<PathBuf, LibraryError> {
    if path.is_file() { Ok(path.to_owned()) } else { Err(LibraryError::NoSuchFile { path: path.to_owned(), named_by }) }
}

/// The folders that are searched, in order.
fn places() -> Vec<PathBuf> {
    let executable = std::env::current_exe().unwrap_or_default();
    let Some(folder) = executable.parent() else { return Vec::new() };
    // `target/release/assay-server` and `target/debug/deps/test-…` both reach `target/onnxruntime`.
    let nearby = folder.ancestors().take(4).map(|folder| folder.join("onnxruntime"));
    std::iter::once(folder.to_owned()).chain(nearby).collect()
}

/// The first library in `places`. A folder with several versions gives the newest.
fn search(places: &[PathBuf]) -> Result<PathBuf, LibraryError> {
    places
        .iter()
        .find_map(|folder| {
            let entries = std::fs::read_dir(folder).ok()?;
            let files = entries.flatten().map(|entry| entry.path()).filter(|path| is_library(path));
            files.max_by_key(|path| numbers(path))
        })
        .ok_or_else(|| LibraryError::NotFound(places.to_vec()))
}

/// Whether a file is called like ONNX Runtime: `libonnxruntime.so`, `libonnxruntime.so.1.31.1`, `libonnxruntime.1.31.1.dylib`,
/// `onnxruntime.dll`. The provider libraries beside it (`libonnxruntime_providers_cuda.so`) are not.
fn is_library(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let named = name.starts_with("libonnxruntime.so")
        || (name.starts_with("libonnxruntime.") && name.ends_with(".dylib"))
        || name == "onnxruntime.dll";
    named && path.is_file()
}

/// The numbers in a file's name, to order versions by.
fn numbers(path: &Path) -> Vec<u32> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

fn start(path: PathBuf) -> Result<OnnxRuntime, LibraryError> {
    // `ort` would take a relative path as relative to the executable.
    let path = std::path::absolute(&path).unwrap_or(path);
    native::disable_telemetry();
    let version = native::version(&path).map_err(|e| LibraryError::NotALibrary {
        path: path.clone(),
        reason: match e {
            Unloadable::Loader(text) => text,
            Unloadable::NoEntryPoint => "it does not export OrtGetApiBase".into(),
        },
    })?;
    if !is_new_enough(&version) {
        return Err(LibraryError::TooOld { path, found: version });
    }
    let failed = |reason: String| LibraryError::Start { path: path.clone(), reason };
    let environment = ort::init_from(&path)
        .map_err(|e| failed(e.to_string()))?
        .with_name("assay")
        .with_telemetry(false)
        .build()
        .map_err(|e| failed(e.to_string()))?;
    // Through tracing ONNX Runtime would format every message it has, the verbose ones too.
    environment.set_log_level(LogLevel::Warning);
    Ok(OnnxRuntime { inner: Arc::new(Started { path, version, environment }) })
}

fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= OLDEST
}

fn same_file(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(is_new_enough("1.24.0") && is_new_enough("1.31.1") && is_new_enough("2.0.0"));
        assert!(!is_new_enough("1.9.0") && !is_new_enough("1.23.2") && !is_new_enough("") && !is_new_enough("x"));
    }

    #[test]
    fn search_takes_the_newest_library_of_the_first_folder_that_has_one() {
        let root = tempfile::tempdir().unwrap();
        let (empty, first, second) = (root.path().join("empty"), root.path().join("first"), root.path().join("second"));
        for folder in [&empty, &first, &second] {
            std::fs::create_dir(folder).unwrap();
        }
        for file in
            ["libonnxruntime.so.1.9.0", "libonnxruntime.so.1.31.1", "libonnxruntime_providers_cuda.so", "notes.txt"]
        {
            std::fs::write(first.join(file), "").unwrap();
        }
        std::fs::write(second.join("libonnxruntime.so.1.40.0"), "").unwrap();
        let found = search(&[root.path().join("none"), empty, first.clone(), second]).unwrap();
        assert_eq!(found, first.join("libonnxruntime.so.1.31.1"));
    }

    #[test]
    fn a_search_without_result_says_where_it_looked_and_what_to_do() {
        let places = [PathBuf::from("/nowhere/a"), PathBuf::from("/nowhere/b")];
        let text = search(&places).unwrap_err().to_string();
        for part in ["/nowhere/a", "/nowhere/b", "make setup", "ORT_DYLIB_PATH"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
