//! ONNX Runtime: the library, sessions on their own threads, and the classifier that attacks and services call.
//!
//! Start with [`OnnxRuntime::load`], [`OnnxClassifier::load`] and [`Classifier`].

mod batch;
mod batcher;
mod cancel;
mod classifier;
mod derived;
mod engine;
mod fidelity;
mod forward;
mod gpu;
mod kernels;
mod library;
mod memory;
mod native;
mod nice;
mod onnx;
mod options;
mod prepare;
mod probe;
mod program;
mod provider;
mod session;
mod weighted;

pub use assay_graph::Adaptation;
pub use cancel::Cancel;
pub use classifier::{Class, Classifier, ClassifierSpec, Evaluated, Gradients, Objective, RunError};
pub use engine::{Engine, EngineOptions, RunObserver, RunTimes, Ticket};
pub use library::{Library, LibraryError, OnnxRuntime};
pub use memory::MemoryError;
pub use native::{exit_at_once, return_free_memory};
pub use nice::{BACKGROUND, LAST, behind};
pub use onnx::OnnxClassifier;
pub use options::{Batching, ClassifierOptions, LoadCause, LoadError, ModelInfo};
pub use probe::{ProbeError, shapes};
pub use program::Program;
pub use provider::Provider;
pub use session::{Array, ArrayRef, OPTIMIZATION, SessionError, Tensors};
pub use weighted::{OnnxWeighted, Weighed, Weight, Weighted};
