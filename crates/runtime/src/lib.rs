//! ONNX Runtime: the library, sessions on their own threads, and the classifier that attacks and services call.
//!
//! Start with [`Classifier`].

mod classifier;

pub use classifier::{Class, Classifier, ClassifierSpec, Evaluated, Gradients, RunError};
