//! Gradients estimated from logits.

use crate::param::Integer;
use crate::rows::Rows;
use crate::{Halt, Probe, Reading, SampleRng, Samples};

pub(crate) const PAIRS: Integer = Integer {
    name: "pairs",
    default: 25,
    min: 1,
    max: 10_000,
    doc: "Pairs of points from which a gradient is estimated.",
};

/// Estimates of the gradient of each sample's margin, against which an attack descends, from the margins at pairs of points on either side of
/// its point: the mean of `(f(x + d v) - f(x - d v)) / (2 d) * v` over random directions `v`.
///
/// Points are projected on the threat, so that each may be a find. Where that cuts a pair short, the difference that is left takes the
/// place of `2 d v`: its sign, and so that of the estimate, is the same.
pub(crate) struct Estimate {
    /// How far a point lies from the centre along its direction.
    distance: f32,
    /// Fills a direction.
    draw: fn(&mut SampleRng, &mut [f32]),
    directions: Rows,
    gradients: Rows,
    /// The first point of the pair that is being read, and the margin there.
    firsts: Rows,
    margins: Vec<f32>,
}

impl Estimate {
    pub(crate) fn new(samples: &Samples<'_>, distance: f32, draw: fn(&mut SampleRng, &mut [f32])) -> Self {
        let rows = || Rows::zeros(samples);
        let margins = vec![0.0; samples.len()];
        Self { distance, draw, directions: rows(), gradients: rows(), firsts: rows(), margins }
    }

    /// Evaluates every sample's point, whose margin goes to `centre`, and `pairs` pairs around it.
    pub(crate) fn update(
        &mut self,
        samples: &mut Samples<'_>,
        pairs: u32,
        mut centre: impl FnMut(usize, f32),
    ) -> Result<(), Halt> {
        let (threat, distance) = (samples.threat(), self.distance);
        let scale = 1.0 / (4.0 * distance * distance * pairs as f32);
        self.gradients.clear();
        let place = |Probe { sample, index, x, probe, rng, .. }: Probe<'_>| {
            if index == 0 {
                return;
            }
            let direction = self.directions.row(sample);
            let first = index % 2 == 1;
            if first {
                (self.draw)(rng, direction);
            }
            let distance = if first { distance } else { -distance };
            for (p, v) in probe.iter_mut().zip(direction) {
                *p += distance * *v;
            }
            threat.project(x, probe);
        };
        let read = |Reading { sample, index, probe, margin, .. }: Reading<'_>| {
            let (first, before) = (self.firsts.row(sample), &mut self.margins[sample]);
            if index == 0 {
                centre(sample, margin);
            } else if index % 2 == 1 {
                first.copy_from_slice(probe);
                *before = margin;
            } else {
                let slope = scale * (*before - margin);
                for ((g, first), second) in self.gradients.row(sample).iter_mut().zip(first).zip(probe) {
                    *g += slope * (*first - second);
                }
            }
        };
        samples.probe(|_| 1 + 2 * pairs, place, read)?;
        Ok(())
    }

    /// What was estimated for a sample.
    pub(crate) fn gradient(&mut self, sample: usize) -> &mut [f32] {
        self.gradients.row(sample)
    }
}
