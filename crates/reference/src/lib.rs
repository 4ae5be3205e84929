//! What tests compare with: a naive f64 interpreter of ONNX graphs, checks of gradients on top of it, and the reference
//! material.
//!
//! The interpreter ([`run`]) is written for obviousness, from the ONNX specification, and shares no code with the rules
//! of `assay-graph`. Only tests depend on this crate, so it may panic where they want it to.

#![forbid(unsafe_code)]
#![allow(clippy::panic)]

mod array;
mod interpret;
mod ops;

pub use array::{Array, Data};
pub use interpret::{InterpretError, run};
