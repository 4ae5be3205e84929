//! Random streams.

use std::f64::consts::TAU;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::SampleId;

/// The random stream of one sample in one restart of one attack.
///
/// Its key holds all that the stream may depend on, so that a sample's result does not depend on the batch, the order or the
/// shard it is attacked in.
#[derive(Clone, Debug)]
pub struct SampleRng(ChaCha8Rng);

impl SampleRng {
    /// The stream for these four.
    #[must_use]
    pub fn new(seed: u64, sample: SampleId, attack: &str, restart: u32) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&sample.0.to_le_bytes());
        key[16..24].copy_from_slice(&fnv1a(attack).to_le_bytes());
        key[24..28].copy_from_slice(&restart.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in [0, 1), a multiple of 2^-53.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0..n`, for `n` far below 2^53.
    pub fn below(&mut self, n: usize) -> usize {
        (self.uniform() * n as f64) as usize
    }

    /// 1 or -1.
    pub fn sign(&mut self) -> f64 {
        if self.0.next_u64() & 1 == 0 { 1.0 } else { -1.0 }
    }

    /// A standard exponential deviate.
    pub fn exponential(&mut self) -> f64 {
        // 1 - u is never zero, so that the logarithm is finite.
        -(1.0 - self.uniform()).ln()
    }

    /// Fills with independent standard normal deviates (Box and Muller, 1958).
    pub fn fill_normal(&mut self, values: &mut [f32]) {
        for pair in values.chunks_mut(2) {
            let radius = (2.0 * self.exponential()).sqrt();
            let (sin, cos) = (TAU * self.uniform()).sin_cos();
            for (value, part) in pair.iter_mut().zip([cos, sin]) {
                *value = (radius * part) as f32;
            }
        }
    }
}

/// Fowler, Noll and Vo's hash 1a of 64 bits: all it must do is to tell the few names of attacks apart.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_key_changes_the_stream() {
        let first = |seed, sample, attack, restart| SampleRng::new(seed, SampleId(sample), attack, restart).uniform();
        let base = first(1, 2, "pgd", 3);
        assert_eq!(base, first(1, 2, "pgd", 3));
        for other in [first(2, 2, "pgd", 3), first(1, 3, "pgd", 3), first(1, 2, "fgsm", 3), first(1, 2, "pgd", 4)] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn deviates_are_standard_normal() {
        let mut values = vec![0.0; 100_001];
        SampleRng::new(0, SampleId(0), "test", 0).fill_normal(&mut values);
        let moment = |k: i32| values.iter().map(|v| f64::from(*v).powi(k)).sum::<f64>() / values.len() as f64;
        // Five standard errors of each.
        assert!(moment(1).abs() < 0.016 && (moment(2) - 1.0).abs() < 0.023 && (moment(4) - 3.0).abs() < 0.16);
    }

    #[test]
    fn exponential_deviates_have_their_moments() {
        let mut rng = SampleRng::new(0, SampleId(0), "test", 0);
        let values: Vec<f64> = (0..100_000).map(|_| rng.exponential()).collect();
        let moment = |k: i32| values.iter().map(|v| v.powi(k)).sum::<f64>() / values.len() as f64;
        // Five standard errors of each.
        assert!((moment(1) - 1.0).abs() < 0.016 && (moment(2) - 2.0).abs() < 0.071);
    }
}
