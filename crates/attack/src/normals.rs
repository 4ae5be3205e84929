//! Normals of the boundary, estimated from predicted classes.

use crate::rows::Rows;
use crate::{Halt, Probe, Reading, SampleRng, Samples};

/// Estimates of the boundary's normals at adversarial points close to it, each turned into the direction of length 1 in the threat's norm that leads across
/// soonest.
pub(crate) struct Normals {
    /// How far the probes lie from their centre, in the Euclidean norm.
    pub(crate) reach: Vec<f64>,
    pub(crate) directions: Rows,
    /// Sum of the probes' offsets, whatever the model says of them.
    offsets: Rows,
    /// Probes that were read, and how many more of them were adversarial than not.
    read: Vec<(u32, i64)>,
}

impl Normals {
    pub(crate) fn new(samples: &Samples<'_>) -> Self {
        let rows = || Rows::zeros(samples);
        Self { reach: vec![0.0; samples.len()], directions: rows(), offsets: rows(), read: vec![(0, 0); samples.len()] }
    }

    /// Probes around each point, in directions that `draw` fills in. The normal is the mean of the offsets, those of adversarial points with the sign 1 and
    /// the others with -1; less the mean of the signs, which would weigh most where nearly all points lie on one side.
    pub(crate) fn estimate(
        &mut self,
        samples: &mut Samples<'_>,
        probes: u32,
        mut draw: impl FnMut(&mut SampleRng, &mut [f32]),
    ) -> Result<(), Halt> {
        let Self { reach, directions, offsets, read } = self;
        let threat = samples.threat();
        directions.clear();
        offsets.clear();
        read.fill((0, 0));
        let place = |Probe { sample, probe, point, rng, .. }: Probe<'_>| {
            draw(rng, probe);
            let length = probe.iter().map(|p| f64::from(*p).powi(2)).sum::<f64>().sqrt().max(1e-12);
            let scale = (reach[sample] / length) as f32;
            for (p, centre) in probe.iter_mut().zip(point) {
                *p = (centre + scale * *p).clamp(threat.bounds.low(), threat.bounds.high());
            }
        };
        let note = |Reading { sample, probe, point, margin, .. }: Reading<'_>| {
            let sign = if margin < 0.0 { 1.0 } else { -1.0 };
            let sums = directions.row(sample).iter_mut().zip(offsets.row(sample));
            for ((direction, offset), (p, centre)) in sums.zip(probe.iter().zip(point)) {
                *direction += sign * (p - centre);
                *offset += p - centre;
            }
            read[sample].0 += 1;
            read[sample].1 += if margin < 0.0 { 1 } else { -1 };
        };
        samples.probe(|_| probes, place, note)?;
        for (sample, (read, excess)) in read.iter().enumerate() {
            let direction = directions.row(sample);
            centre(direction, offsets.row(sample), *read, *excess);
            threat.steepest(direction);
        }
        Ok(())
    }
}

/// Makes of the sum of signs times offsets that of the signs less their mean, unless all are the same (Chen et al., 2020, equation 16).
fn centre(direction: &mut [f32], offsets: &[f32], read: u32, excess: i64) {
    let mean = excess as f32 / read.max(1) as f32;
    if mean.abs() < 1.0 {
        for (direction, offset) in direction.iter_mut().zip(offsets) {
            *direction -= mean * *offset;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_centred_unless_all_are_the_same() {
        let probes = [[1.0, 2.0], [3.0, -1.0], [-2.0, 4.0]];
        let sum = |weights: [f32; 3]| [0, 1].map(|i| probes.iter().zip(weights).map(|(p, w)| w * p[i]).sum::<f32>());
        let mut direction = sum([1.0, 1.0, -1.0]);
        centre(&mut direction, &sum([1.0; 3]), 3, 1);
        let third = 1.0 / 3.0;
        let expected = sum([1.0 - third, 1.0 - third, -1.0 - third]);
        assert!(direction.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{direction:?} {expected:?}");
        for sign in [1.0, -1.0] {
            let mut direction = sum([sign; 3]);
            centre(&mut direction, &sum([1.0; 3]), 3, sign as i64 * 3);
            assert_eq!(direction, sum([sign; 3]));
        }
    }
}
