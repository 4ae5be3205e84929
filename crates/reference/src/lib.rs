//! What tests compare with: a naive f64 interpreter of ONNX graphs, checks of gradients on top of it, and the reference
//! material.
//!
//! The interpreter ([`run`]) is written for obviousness, from the ONNX specification, and shares no code with the rules
//! of `assay-graph`. A [`Case`] is a small model with its data, and [`check_vjp`] judges its derivative. Only tests depend
//! on this crate, so it panics where a test should fail.

#![forbid(unsafe_code)]
#![allow(clippy::panic)]

mod array;
mod case;
mod gradient;
mod interpret;
mod material;
mod net;
mod ops;
mod probe;
mod random;
mod second;
mod shipped;
mod sketch;

pub use array::{Array, Data};
pub use case::Case;
pub use gradient::{check_first, check_refused, check_vjp, compare, relative_error, vjp_at};
pub use interpret::{InterpretError, run, run_unrounded};
pub use material::{Material, Npz, data_sets, material, skip};
pub use net::Net;
pub use probe::probe;
pub use random::{Random, Values};
pub use shipped::fashion_mnist;
pub use sketch::Sketch;
