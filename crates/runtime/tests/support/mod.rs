//! What the tests share.

#![allow(dead_code, clippy::print_stdout)]

use std::path::PathBuf;

use assay_runtime::{Library, OnnxRuntime};

/// ONNX Runtime; without it a test says so and passes.
pub(crate) fn runtime() -> Option<OnnxRuntime> {
    OnnxRuntime::load(&Library::default()).inspect_err(|e| println!("skipped: {e}")).ok()
}

/// A small convolutional classifier of 1 x 28 x 28 images with 10 classes.
pub(crate) fn fashion() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/models/fashion-robust/1/model.onnx"))
}
