//! What the benchmarks measure on: the demo's models and images.
//!
//! Each benchmark puts the thing and what it is compared with into one group of one run, so that the ratio means something on
//! a noisy machine. Sessions have one thread unless a benchmark says otherwise.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a benchmark that cannot set up has nothing to say")]

pub mod page;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use assay_data::{DataSource, Dataset};
use assay_runtime::{ClassifierOptions, EngineOptions, Library, OnnxClassifier, OnnxRuntime};

/// Root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Repository of the demo's models.
#[must_use]
pub fn repository() -> PathBuf {
    root().join("deploy/models")
}

/// File of the demo model `name`.
#[must_use]
pub fn model_file(name: &str) -> PathBuf {
    repository().join(name).join("1/model.onnx")
}

/// The started library.
#[must_use]
pub fn runtime() -> OnnxRuntime {
    OnnxRuntime::load(&Library::default()).unwrap()
}

/// The demo model `name` on one session with `threads` threads.
#[must_use]
pub fn classifier(name: &str, threads: usize) -> OnnxClassifier {
    let engine = EngineOptions {
        sessions: NonZeroUsize::MIN,
        intra_threads: NonZeroUsize::new(threads),
        ..EngineOptions::default()
    };
    let options = ClassifierOptions { engine, ..ClassifierOptions::default() };
    OnnxClassifier::load(&runtime(), &model_file(name), &options).unwrap()
}

/// The demo's first `n` images with their labels.
#[must_use]
pub fn images(n: usize) -> Dataset {
    Dataset::open(&DataSource::new(root().join("deploy/data/fashion-mnist")), Some(n)).unwrap()
}
