//! Standard training.

use assay_graph::{Criterion, Loss};
use assay_runtime::RunError;
use ndarray::Array2;

use super::{Attacker, Objective};
use crate::trainer::Batch;

/// The cross-entropy of the samples as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standard;

impl Objective for Standard {
    fn name(&self) -> &'static str {
        "standard"
    }

    fn criterion(&self) -> &dyn Criterion {
        &Loss::CrossEntropy
    }

    fn views(&mut self, batch: &Batch<'_>, _: &mut Attacker<'_>) -> Result<Vec<Array2<f32>>, RunError> {
        Ok(vec![batch.samples.to_owned()])
    }
}
