//! Noise: gaussian, shot, impulse, speckle. Every value of every channel is disturbed by itself.

use super::level::{Level, Table};
use super::picture::Picture;
use crate::SampleRng;

/// Standard deviation.
const GAUSSIAN: Table<f64> =
    [[0.04, 0.06, 0.08, 0.09, 0.1], [0.04, 0.08, 0.12, 0.15, 0.18], [0.08, 0.12, 0.18, 0.26, 0.38]];
/// Photons that make white.
const SHOT: Table<f64> =
    [[500.0, 250.0, 100.0, 75.0, 50.0], [250.0, 100.0, 50.0, 30.0, 15.0], [60.0, 25.0, 12.0, 5.0, 3.0]];
/// Share of the values that are lost.
const IMPULSE: Table<f64> =
    [[0.01, 0.02, 0.03, 0.05, 0.07], [0.01, 0.02, 0.05, 0.08, 0.14], [0.03, 0.06, 0.09, 0.17, 0.27]];
/// Standard deviation, as a share of the value.
const SPECKLE: Table<f64> = [[0.06, 0.1, 0.12, 0.16, 0.2], [0.15, 0.2, 0.25, 0.3, 0.35], [0.15, 0.2, 0.35, 0.45, 0.6]];

/// `x + n`, `n` normal.
pub(super) fn gaussian(picture: &mut Picture, level: Level, rng: &mut SampleRng) {
    let sigma = level.of(&GAUSSIAN) as f32;
    disturb(picture, rng, |x, deviate| x + sigma * deviate);
}

/// `x + x n`, `n` normal.
pub(super) fn speckle(picture: &mut Picture, level: Level, rng: &mut SampleRng) {
    let sigma = level.of(&SPECKLE) as f32;
    disturb(picture, rng, |x, deviate| x + x * sigma * deviate);
}

/// A number of photons that is Poisson distributed around the expected one.
pub(super) fn shot(picture: &mut Picture, level: Level, rng: &mut SampleRng) {
    let white = level.of(&SHOT);
    for value in picture.values_mut() {
        *value = (poisson(f64::from(*value) * white, rng.uniform()) / white) as f32;
    }
}

/// Black or white, whatever it was.
pub(super) fn impulse(picture: &mut Picture, level: Level, rng: &mut SampleRng) {
    let share = level.of(&IMPULSE);
    for value in picture.values_mut() {
        let (lost, white) = (rng.uniform() < share, rng.sign() > 0.0);
        if lost {
            *value = f32::from(u8::from(white));
        }
    }
}

fn disturb(picture: &mut Picture, rng: &mut SampleRng, disturbed: impl Fn(f32, f32) -> f32) {
    for plane in &mut picture.planes {
        let mut deviates = vec![0.0; plane.values.len()];
        rng.fill_normal(&mut deviates);
        for (value, deviate) in plane.values.iter_mut().zip(deviates) {
            *value = disturbed(*value, deviate);
        }
    }
}

/// The number below which a share `u` of a Poisson distribution lies.
fn poisson(mean: f64, u: f64) -> f64 {
    let (mut count, mut probability) = (0.0, (-mean).exp());
    let mut below = probability;
    // Rounding may keep the sum below u; then the probability ends it.
    while u >= below && probability > 0.0 {
        count += 1.0;
        probability *= mean / count;
        below += probability;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poisson_numbers_are_quantiles() {
        // P(0) = 0.1353, P(<= 1) = 0.4060, P(<= 2) = 0.6767, P(<= 3) = 0.8571 for a mean of 2.
        assert_eq!(
            [0.0, 0.13, 0.14, 0.4, 0.41, 0.67, 0.68, 0.86].map(|u| poisson(2.0, u)),
            [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 4.0]
        );
        assert_eq!(poisson(0.0, 0.999), 0.0);
        assert_eq!(poisson(500.0, 0.5), 500.0);
        let largest = poisson(500.0, 1.0 - f64::EPSILON / 2.0);
        assert!((650.0..2_000.0).contains(&largest), "{largest}");
    }
}
