//! Statistics: rates with their uncertainty, the comparison of two models on the same samples, and what follows for a demand.

mod decision;
mod demand;
mod drop;
mod estimate;
mod evidence;
mod median;
mod paired;
mod power;
#[cfg(test)]
mod simulation;

pub use decision::{Decision, decide};
pub use demand::{Counts, Decidable, Demand};
pub use estimate::{Estimate, LEVEL};
pub use evidence::{ALPHA, Evidence};
pub use median::median;
pub use paired::{Difference, Discordant, Paired};
pub use power::POWER;
