//! Two models on the same samples.

use serde::{Deserialize, Serialize};
use statrs::function::beta::beta_reg;

/// Square root of the 95 % quantile of χ² with one degree of freedom: the normal quantile of a two-sided 95 % interval.
const Z: f64 = 1.959_963_984_540_054;

/// How often each of two models succeeded on the same samples, what that says about their difference, and how likely a
/// difference this large is if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Paired {
    /// Both succeeded.
    pub both: u64,
    /// Only the first did.
    pub only_first: u64,
    /// Only the second did.
    pub only_second: u64,
    /// Neither did.
    pub neither: u64,
    /// Rate of the second less that of the first.
    pub difference: Difference,
    /// McNemar's exact two-sided p: `only_first` is binomial with probability ½ among the discordant pairs if the models
    /// are equally good; twice the smaller tail, at most 1 (McNemar, Psychometrika 12, 1947; exact form: Cochran 1950).
    pub p_value: f64,
}

/// A difference of two paired proportions with Tango's score interval at 95 % (Statistics in Medicine 17, 1998): all
/// differences that the score test with the constrained maximum-likelihood estimate does not reject.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Difference {
    /// Point estimate, in `[-1, 1]`.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Paired {
    /// Compares success flags of the same samples in the same order; `None` if there are none or their numbers differ.
    pub fn new(first: &[bool], second: &[bool]) -> Option<Self> {
        if first.is_empty() || first.len() != second.len() {
            return None;
        }
        let mut table = [0_u64; 4];
        for (&a, &b) in first.iter().zip(second) {
            table[usize::from(a) * 2 + usize::from(b)] += 1;
        }
        let [neither, only_second, only_first, both] = table;
        let difference = Difference::tango(only_second, only_first, first.len() as u64);
        Some(Self { both, only_first, only_second, neither, difference, p_value: mcnemar(only_first, only_second) })
    }

    /// Number of samples.
    #[must_use]
    pub fn of(&self) -> u64 {
        self.both + self.only_first + self.only_second + self.neither
    }
}

impl Difference {
    /// Interval of `(gained - lost) / n` for `gained` and `lost` discordant pairs among `n >= 1`.
    fn tango(gained: u64, lost: u64, n: u64) -> Self {
        let value = (gained as f64 - lost as f64) / n as f64;
        let [b, c, n] = [gained, lost, n].map(|count| count as f64);
        // The score falls as the supposed difference grows.
        let high = if value >= 1.0 { 1.0 } else { bisect(value, 1.0, |d| score(b, c, n, d) > -Z) };
        let low = if value <= -1.0 { -1.0 } else { bisect(-1.0, value, |d| score(b, c, n, d) > Z) };
        Self { value, low, high }
    }
}

/// Tango's score of `b` against `c` discordant pairs among `n` for a supposed difference `d` (his equations 6 and 7).
fn score(b: f64, c: f64, n: f64, d: f64) -> f64 {
    let linear = -b - c + (2.0 * n - b + c) * d;
    let constant = -c * d * (1.0 - d);
    let q = ((linear * linear - 8.0 * n * constant).max(0.0).sqrt() - linear) / (4.0 * n);
    let variance = n * (2.0 * q + d * (1.0 - d));
    let excess = b - c - n * d;
    if variance > 0.0 { excess / variance.sqrt() } else { excess.signum() * f64::INFINITY }
}

/// Where `before` turns from true to false between `low` and `high`, to the last bit.
fn bisect(mut low: f64, mut high: f64, before: impl Fn(f64) -> bool) -> f64 {
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            return middle;
        }
        if before(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
}

/// Exact two-sided p of McNemar's test.
fn mcnemar(b: u64, c: u64) -> f64 {
    let (fewer, pairs) = (b.min(c), b + c);
    if fewer * 2 == pairs {
        return 1.0;
    }
    // P(X <= k) of a binomial with n pairs and probability ½ is the regularised incomplete beta I_½(n - k, k + 1).
    (2.0 * beta_reg((pairs - fewer) as f64, fewer as f64 + 1.0, 0.5)).min(1.0)
}
