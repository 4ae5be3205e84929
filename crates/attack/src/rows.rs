//! Numbers that an attack keeps for each sample.

use crate::Samples;

/// For each sample of a job as many numbers as it has elements.
pub(crate) struct Rows {
    features: usize,
    values: Vec<f32>,
}

impl Rows {
    pub(crate) fn zeros(samples: &Samples<'_>) -> Self {
        let features = samples.features();
        Self { features, values: vec![0.0; samples.len() * features] }
    }

    /// Those of one sample, by its position in the job.
    pub(crate) fn row(&mut self, sample: usize) -> &mut [f32] {
        &mut self.values[sample * self.features..][..self.features]
    }

    /// Sets all to zero.
    pub(crate) fn clear(&mut self) {
        self.values.fill(0.0);
    }
}
