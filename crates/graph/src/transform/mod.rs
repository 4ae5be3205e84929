//! Transformations: new models from a shaped one.
//!
//! Each is a function from a [`Shaped`](crate::Shaped) model to a new [`Model`](crate::Model) in its own file. They share the
//! walk in `reverse`, which knows no operator by name: it looks rules up in the table of operators.

mod gradient;
mod reverse;

pub use gradient::{Gradient, Vjp, gradient, vjp};
