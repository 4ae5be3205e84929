//! Quantities that fall over the steps of an attack.

use std::f64::consts::PI;

/// Half a cosine from `first`, at step 0, to `last`, which would be reached at step `steps`.
pub(crate) fn cosine(first: f64, last: f64, step: u32, steps: u32) -> f64 {
    last + (first - last) * (1.0 + (PI * f64::from(step) / f64::from(steps)).cos()) / 2.0
}

#[cfg(test)]
mod tests {
    use super::cosine;

    #[test]
    fn begins_at_the_first_and_falls_to_the_last() {
        assert_eq!(cosine(1.0, 0.0, 0, 10), 1.0);
        assert!((cosine(1.0, 0.0, 5, 10) - 0.5).abs() < 1e-12);
        assert!((cosine(1.0, 0.25, 10, 10) - 0.25).abs() < 1e-12);
    }
}
