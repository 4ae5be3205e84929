//! Samples that are nearly what a caller sent before.
//!
//! Whoever attacks a model from outside asks it about many variants of one sample, and nobody else does. Each sample gets a fingerprint, as in Li et al.,
//! *Blacklight: Scalable Defense for Neural Networks against Query-Based Black-Box Attacks* (USENIX Security 2022): its values are rounded coarsely, each run of [`WINDOW`] of
//! them is hashed, and the [`SIZE`] smallest hashes are kept. Samples that share half of them are near-duplicates. The hash has a secret, so that nobody can
//! tell which parts of a sample count.
//!
//! A sample that is sent again as it was, to the bit, is none: health checks and retries do that, and an attack learns nothing from it.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
    sync::{Mutex, PoisonError},
};

use ndarray::ArrayView2;

/// Values in a row that are hashed together.
const WINDOW: usize = 50;
/// Hashes of a fingerprint.
const SIZE: usize = 50;
/// Hashes in common from which on two samples are near-duplicates.
const ALIKE: usize = SIZE / 2;
/// Levels that the range of values is rounded to: five, as where bytes are rounded to multiples of 50.
const STEP: f32 = 50.0 / 255.0;
/// 2^61 - 1, a prime: the hash of a run of values is a polynomial in the secret, of which the next run's is made in one step.
const PRIME: u64 = (1 << 61) - 1;

/// What callers sent to models lately.
#[derive(Debug)]
pub(crate) struct NearDuplicates {
    window: usize,
    secret: Secret,
    seen: Mutex<HashMap<Of, History>>,
}

/// A caller, if callers are asked who they are, and a model.
type Of = (Option<String>, String);

#[derive(Clone, Debug)]
struct Secret {
    /// Where the polynomial is evaluated.
    at: u64,
    /// `at` to the power of [`WINDOW`].
    leaving: u64,
    exact: RandomState,
}

/// The samples that new ones are compared with.
#[derive(Debug, Default)]
struct History {
    /// The oldest first; the first one's number is `first`.
    samples: VecDeque<Sample>,
    first: u64,
    /// Numbers of the samples with a hash.
    with: HashMap<u64, Vec<u64>, BuildHasherDefault<AsItIs>>,
}

#[derive(Debug)]
struct Sample {
    /// Of all its bits.
    exact: u64,
    /// In increasing order, each once; fewer than [`SIZE`] of a sample with few values.
    fingerprint: Vec<u64>,
}

impl NearDuplicates {
    /// Compares with the last `window` samples of a caller to a model.
    pub(crate) fn new(window: usize) -> Self {
        let exact = RandomState::new();
        let at = exact.hash_one("at") % (PRIME - 2) + 2;
        let leaving = (0..WINDOW).fold(1, |power, _| times(power, at));
        Self { window, secret: Secret { at, leaving, exact }, seen: Mutex::default() }
    }

    /// How many of `batch`, `[n, features]` with values in `range`, are nearly what `caller` sent to `model` before, or what is before them in the batch.
    pub(crate) fn look(
        &self,
        caller: Option<&str>,
        model: &str,
        range: [f32; 2],
        batch: &ArrayView2<'_, f32>,
    ) -> usize {
        let samples: Vec<Sample> = batch
            .rows()
            .into_iter()
            .map(|row| match row.as_slice() {
                Some(values) => self.secret.sample(values, range),
                None => self.secret.sample(&row.to_vec(), range),
            })
            .collect();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let history = seen.entry((caller.map(str::to_owned), model.to_owned())).or_default();
        samples.into_iter().filter_map(|sample| history.add(sample, self.window).then_some(())).count()
    }
}

impl Secret {
    fn sample(&self, values: &[f32], [low, high]: [f32; 2]) -> Sample {
        let exact = self.exact.hash_one(bytemuck::cast_slice::<f32, u8>(values));
        // Values that are no numbers become 0; the model refuses them or not.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 to 6, as are all beyond")]
        let level = |value: f32| 1 + ((value - low) / (high - low) / STEP).clamp(0.0, 5.0) as u64;
        let width = WINDOW.min(values.len());
        let mut hashes = Vec::with_capacity(values.len() + 1 - width);
        let mut hash = 0;
        for (i, &value) in values.iter().enumerate() {
            hash = plus(times(hash, self.at), level(value));
            if i >= width {
                hash = plus(hash, PRIME - times(self.leaving, level(values[i - width])));
            }
            if i + 1 >= width {
                hashes.push(mixed(hash));
            }
        }
        Sample { exact, fingerprint: smallest(hashes) }
    }
}

impl History {
    /// Whether the sample is nearly one of those before it; it is one of them from now on.
    fn add(&mut self, sample: Sample, window: usize) -> bool {
        let mut common: HashMap<u64, usize, BuildHasherDefault<AsItIs>> = HashMap::default();
        for number in sample.fingerprint.iter().filter_map(|hash| self.with.get(hash)).flatten() {
            *common.entry(*number).or_default() += 1;
        }
        let alike = |number: u64, common: usize| {
            let before = &self.samples[usize::try_from(number - self.first).unwrap_or(0)];
            let needed = ALIKE.min(before.fingerprint.len().max(sample.fingerprint.len()).div_ceil(2));
            common >= needed && before.exact != sample.exact
        };
        let found = common.iter().any(|(&number, &common)| alike(number, common));
        while self.samples.len() >= window {
            self.forget_oldest();
        }
        let number = self.first + self.samples.len() as u64;
        for hash in &sample.fingerprint {
            self.with.entry(*hash).or_default().push(number);
        }
        self.samples.push_back(sample);
        found
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.samples.pop_front() else { return };
        for hash in oldest.fingerprint {
            if let Some(numbers) = self.with.get_mut(&hash) {
                numbers.retain(|&number| number != self.first);
                if numbers.is_empty() {
                    self.with.remove(&hash);
                }
            }
        }
        self.first += 1;
    }
}

/// The [`SIZE`] smallest, in increasing order, each once.
fn smallest(mut hashes: Vec<u64>) -> Vec<u64> {
    // Runs over a plain background are many and the same, so that more than the smallest few have to be looked at.
    let mut look = 4 * SIZE;
    loop {
        if look < hashes.len() {
            hashes.select_nth_unstable(look);
        }
        let end = look.min(hashes.len());
        let mut few = hashes[..end].to_vec();
        few.sort_unstable();
        few.dedup();
        if few.len() >= SIZE || end == hashes.len() {
            few.truncate(SIZE);
            return few;
        }
        look *= 4;
    }
}

fn times(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    #[allow(clippy::cast_possible_truncation, reason = "61 bits each")]
    let (low, high) = ((product as u64) & PRIME, (product >> 61) as u64);
    plus(low, high)
}

/// The sum of two numbers up to [`PRIME`], modulo it.
fn plus(a: u64, b: u64) -> u64 {
    let sum = a + b;
    if sum >= PRIME { sum - PRIME } else { sum }
}

/// Polynomials of like runs are near each other; which of them are smallest must not depend on that. The last steps of `splitmix64`.
fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// For keys that are hashes, or numbers in a row.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        // The table looks at the upper bits too.
        self.0 ^ self.0.rotate_left(57)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(self.0.rotate_left(8) ^ u64::from(byte)));
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, ArrayView1, Axis};

    /// Noise without any likeness.
    fn noise(seed: u64, n: usize) -> Vec<f32> {
        let value = |i: usize| (mixed(seed.wrapping_mul(1 << 32) + i as u64) >> 40) as f32 / (1u64 << 24) as f32;
        (0..n).map(value).collect()
    }

    /// `values` with a change of at most `eps`, as an attack makes it.
    fn near(values: &[f32], eps: f32, seed: u64) -> Vec<f32> {
        let changes = noise(seed, values.len());
        values.iter().zip(changes).map(|(v, c)| (v + eps * (2.0 * c - 1.0)).clamp(0.0, 1.0)).collect()
    }

    fn look(watch: &NearDuplicates, caller: Option<&str>, model: &str, sample: &[f32]) -> usize {
        let sample = ArrayView1::from(sample).insert_axis(Axis(0));
        watch.look(caller, model, [0.0, 1.0], &sample)
    }

    #[test]
    fn variants_of_a_sample_are_found_and_other_samples_are_not() {
        let watch = NearDuplicates::new(100);
        // Smooth, as pictures are: what differs by little is rounded alike nearly everywhere.
        let picture = |seed: u64| -> Vec<f32> {
            let coarse = noise(seed, 49);
            (0..784).map(|i| coarse[i / 28 / 4 * 7 + i % 28 / 4]).collect()
        };
        for seed in 0..50 {
            assert_eq!(look(&watch, None, "net", &picture(seed)), 0, "{seed}");
        }
        let found: usize =
            (0..50).map(|seed| look(&watch, None, "net", &near(&picture(seed), 0.002, 1000 + seed))).sum();
        assert!(found >= 45, "{found}");
    }

    #[test]
    fn the_same_sample_again_is_none_and_the_history_is_a_callers_with_a_model() {
        let watch = NearDuplicates::new(100);
        let sample = vec![0.3; 784];
        let mut changed = sample.clone();
        changed[0] = 0.31;
        assert_eq!([look(&watch, None, "net", &sample), look(&watch, None, "net", &sample)], [0, 0]);
        assert_eq!(look(&watch, Some("ci"), "net", &changed), 0);
        assert_eq!(look(&watch, None, "other", &changed), 0);
        assert_eq!(look(&watch, None, "net", &changed), 1);
        let both = Array2::from_shape_vec((2, 784), [&sample[..], &changed[..]].concat()).unwrap();
        assert_eq!(watch.look(Some("new"), "net", [0.0, 1.0], &both.view()), 1, "it is within the batch");
    }

    #[test]
    fn what_is_too_long_ago_is_forgotten_with_all_its_hashes() {
        let watch = NearDuplicates::new(3);
        for seed in 0..10 {
            look(&watch, None, "net", &noise(seed, 200));
        }
        assert_eq!(look(&watch, None, "net", &near(&noise(0, 200), 1e-6, 99)), 0);
        let seen = watch.seen.lock().unwrap();
        let history = &seen[&(None, "net".to_owned())];
        assert_eq!((history.samples.len(), history.first), (3, 8));
        let kept: usize = history.samples.iter().map(|sample| sample.fingerprint.len()).sum();
        assert_eq!(history.with.values().map(Vec::len).sum::<usize>(), kept);
    }

    #[test]
    fn the_hash_of_a_run_does_not_depend_on_what_was_before_it() {
        let watch = NearDuplicates::new(1);
        let values = noise(5, 300);
        let all: std::collections::HashSet<u64> =
            watch.secret.sample(&values, [0.0, 1.0]).fingerprint.into_iter().collect();
        let parts = (0..=250).filter(|&from| {
            let part = watch.secret.sample(&values[from..from + WINDOW], [0.0, 1.0]);
            part.fingerprint.len() == 1 && all.contains(&part.fingerprint[0])
        });
        assert_eq!(parts.count(), SIZE, "each of the fingerprint's hashes is that of a run alone");
    }

    #[test]
    fn small_and_odd_samples_are_no_trouble() {
        let watch = NearDuplicates::new(10);
        for values in [vec![0.5], vec![f32::NAN; 3], vec![f32::INFINITY, -1e30], vec![0.0; 49]] {
            look(&watch, None, "net", &values);
        }
        let few = smallest(vec![7; 10_000]);
        assert_eq!(few, [7]);
        let many = smallest((0..10_000).rev().chain([3; 5000]).collect());
        assert_eq!(many, (0..50).collect::<Vec<u64>>());
    }
}
