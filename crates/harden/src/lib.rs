//! Nets that are more robust than they were: made, trained and pruned on ONNX Runtime alone.
//!
//! [`architecture()`] knows the nets of the literature by name and makes one as a [`Model`](assay_graph::Model) with fresh weights.

#![forbid(unsafe_code)]

mod architecture;

pub use architecture::{Architecture, ArchitectureError, Task, architecture};
