//! ONNX Runtime: the library, sessions on their own threads, and the classifier that attacks and services call.
//!
//! Start with [`OnnxRuntime::load`], [`OnnxClassifier::load`] and [`Classifier`].

mod classifier;
mod library;
mod native;
mod onnx;
mod provider;

pub use classifier::{Class, Classifier, ClassifierSpec, Evaluated, Gradients, RunError};
pub use library::{Library, LibraryError, OnnxRuntime};
pub use onnx::{ClassifierOptions, LoadError, ModelInfo, OnnxClassifier, Ticket};
pub use provider::Provider;
