//! Adam, for attacks that descend.

use crate::Samples;
use crate::rows::Rows;

/// Share of the moments that is kept, the first and the second.
const KEPT: (f32, f32) = (0.9, 0.999);
/// What keeps the quotient of moments finite.
const TINY: f32 = 1e-8;

/// Adam (Kingma and Ba, 2015) with moments of its own for each sample.
pub(crate) struct Adam {
    first: Rows,
    second: Rows,
}

impl Adam {
    pub(crate) fn new(samples: &Samples<'_>) -> Self {
        Self { first: Rows::zeros(samples), second: Rows::zeros(samples) }
    }

    /// Forgets all gradients.
    pub(crate) fn reset(&mut self) {
        self.first.clear();
        self.second.clear();
    }

    /// Moves the values of a sample against their gradient, the `step`-th one from 1 on, by about `rate` each.
    pub(crate) fn descend(&mut self, sample: usize, step: u32, rate: f32, gradient: &[f32], values: &mut [f32]) {
        let warm = |kept: f32| (1.0 - f64::from(kept).powf(f64::from(step))) as f32;
        let (warm_first, warm_second) = (warm(KEPT.0), warm(KEPT.1));
        let moments = self.first.row(sample).iter_mut().zip(self.second.row(sample));
        for ((value, g), (first, second)) in values.iter_mut().zip(gradient).zip(moments) {
            *first = KEPT.0 * *first + (1.0 - KEPT.0) * g;
            *second = KEPT.1 * *second + (1.0 - KEPT.1) * g * g;
            *value -= rate * (*first / warm_first) / ((*second / warm_second).sqrt() + TINY);
        }
    }
}
