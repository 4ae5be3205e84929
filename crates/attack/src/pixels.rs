//! Images of 8 bits.

use crate::Bounds;

/// How far a value may be from one of the 256, in distances between two of them, to count as that one.
const NEAR: f64 = 1e-3;

/// The 256 values that an element of an image of 8 bits has in a range of inputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pixels {
    bounds: Bounds,
}

impl Pixels {
    pub(crate) fn of(bounds: Bounds) -> Self {
        Self { bounds }
    }

    /// Moves each element of a point to the nearest of the values; to that of the clean sample `x`, where this is the nearest.
    pub(crate) fn round(self, x: &[f32], point: &mut [f32]) {
        self.each(x, point, |_, level| level.round());
    }

    /// Moves each element to the nearest of the values between it and that of the clean sample: no distance grows.
    pub(crate) fn round_towards(self, x: &[f32], point: &mut [f32]) {
        self.each(x, point, |clean, level| if level > clean { (level + NEAR).floor() } else { (level - NEAR).ceil() });
    }

    /// Whether this is none of the values.
    pub(crate) fn is_strange(self, value: f32) -> bool {
        let level = self.level(value);
        (level - level.round()).abs() > NEAR
    }

    fn each(self, x: &[f32], point: &mut [f32], round: impl Fn(f64, f64) -> f64) {
        for (p, x) in point.iter_mut().zip(x) {
            let clean = self.level(*x).round();
            let level = round(clean, self.level(*p));
            *p = if level == clean { *x } else { self.value(level) };
        }
    }

    /// Which of the values this is, from 0 to 255; a fraction lies between two.
    fn level(self, value: f32) -> f64 {
        let (low, high) = (f64::from(self.bounds.low()), f64::from(self.bounds.high()));
        255.0 * (f64::from(value) - low) / (high - low)
    }

    /// As a tensor of bytes is read.
    fn value(self, level: f64) -> f32 {
        let (low, high) = (self.bounds.low(), self.bounds.high());
        (low + (high - low) * level as f32 / 255.0).clamp(low, high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(low: f32, high: f32) -> Pixels {
        Pixels::of(Bounds::new(low, high).unwrap())
    }

    #[test]
    fn elements_go_to_the_nearest_value() {
        let mut point = [0.0, 1.0, 0.5, 7.4 / 255.0, 7.6 / 255.0];
        pixels(0.0, 1.0).round(&[0.0; 5], &mut point);
        assert_eq!(point, [0.0, 1.0, 128.0 / 255.0, 7.0 / 255.0, 8.0 / 255.0]);
        let mut point = [-1.0, 1.0, 0.01];
        pixels(-1.0, 1.0).round(&[-1.0; 3], &mut point);
        assert_eq!(point, [-1.0, 1.0, -1.0 + 2.0 * 129.0 / 255.0]);
    }

    #[test]
    fn no_distance_grows_towards_the_clean_sample() {
        let clean = [100.0_f32 / 255.0; 4];
        let mut point = [100.9 / 255.0, 99.1 / 255.0, 109.999_99 / 255.0, 90.5 / 255.0];
        pixels(0.0, 1.0).round_towards(&clean, &mut point);
        assert_eq!(point, [clean[0], clean[0], 110.0 / 255.0, 91.0 / 255.0]);
    }

    #[test]
    fn what_does_not_move_stays_to_the_bit() {
        // Another program's arithmetic: one unit in the last place beside the value that bytes have here.
        let clean = [f32::from_bits((-1.0_f32 + 2.0 * 77.0 / 255.0).to_bits() + 1)];
        let mut point = [clean[0] + 1e-4];
        pixels(-1.0, 1.0).round(&clean, &mut point);
        assert_eq!(point, clean);
    }

    #[test]
    fn other_numbers_are_strange() {
        assert!([0.0, 128.0 / 255.0, 1.0].iter().all(|v| !pixels(0.0, 1.0).is_strange(*v)));
        assert!(pixels(0.0, 1.0).is_strange(0.5) && pixels(f32::MIN, f32::MAX).is_strange(0.0));
    }
}
