//! A rate that cannot be separated from its denominator and its interval.

use serde::{Deserialize, Serialize};
use statrs::function::beta::inv_beta_reg;

/// Confidence level of every interval in a report.
pub const LEVEL: f64 = 0.95;

/// A measured proportion with its exact confidence interval (Clopper and Pearson, Biometrika 26, 1934) at [`LEVEL`].
///
/// In JSON: `{"hits": 7, "of": 10, "rate": 0.7, "low": 0.347…, "high": 0.933…}`; on reading, only `hits` and `of` count and
/// the rest is computed again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Counts")]
#[must_use]
pub struct Estimate {
    hits: u64,
    of: u64,
    rate: f64,
    low: f64,
    high: f64,
}

#[derive(Deserialize)]
struct Counts {
    hits: u64,
    of: u64,
}

impl Estimate {
    /// `hits` of `of`; `None` if there is nothing to divide by or if `hits > of`.
    pub fn new(hits: u64, of: u64) -> Option<Self> {
        if of == 0 || hits > of {
            return None;
        }
        let (k, n) = (hits as f64, of as f64);
        let tail = (1.0 - LEVEL) / 2.0;
        let low = if hits == 0 { 0.0 } else { inv_beta_reg(k, n - k + 1.0, tail) };
        let high = if hits == of { 1.0 } else { inv_beta_reg(k + 1.0, n - k, 1.0 - tail) };
        Some(Self { hits, of, rate: k / n, low, high })
    }

    /// Numerator.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// Denominator, at least 1.
    #[must_use]
    pub fn of(&self) -> u64 {
        self.of
    }

    /// `hits / of`, in `[0, 1]`.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Lower end of the interval, in `[0, 1]`.
    #[must_use]
    pub fn low(&self) -> f64 {
        self.low
    }

    /// Upper end of the interval, in `[0, 1]`.
    #[must_use]
    pub fn high(&self) -> f64 {
        self.high
    }
}

impl TryFrom<Counts> for Estimate {
    type Error = String;

    fn try_from(Counts { hits, of }: Counts) -> Result<Self, String> {
        Self::new(hits, of).ok_or_else(|| format!("{hits} of {of} is not a proportion"))
    }
}
