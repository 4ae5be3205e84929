//! Statistics: rates with their uncertainty, and the comparison of two models on the same samples.

mod estimate;
mod paired;

pub use estimate::{Estimate, LEVEL};
pub use paired::{Difference, Paired};
