//! A rate that cannot be separated from its denominator and its interval.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statrs::function::beta::inv_beta_reg;

/// Confidence level of every interval in a report.
pub const LEVEL: f64 = 0.95;

/// A measured proportion with its exact confidence interval (Clopper and Pearson, Biometrika 26, 1934) at [`LEVEL`].
///
/// In JSON: `{"hits": 7, "of": 10, "rate": 0.7, "low": 0.347…, "high": 0.933…}`; on reading, only `hits` and `of` count and
/// the rest is computed again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Counts")]
#[must_use]
pub struct Estimate {
    hits: u64,
    of: u64,
    rate: f64,
    low: f64,
    high: f64,
}

#[derive(Deserialize, JsonSchema)]
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
        let tail = (1.0 - LEVEL) / 2.0;
        // The upper end is the lower end of the misses, seen from the other side.
        let (low, high) = (lower(hits, of, tail), 1.0 - lower(of - hits, of, tail));
        Some(Self { hits, of, rate: hits as f64 / of as f64, low, high })
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

/// One-sided lower bound of Clopper and Pearson: at this proportion, `hits` or more of `of` have probability `tail`.
pub(super) fn lower(hits: u64, of: u64, tail: f64) -> f64 {
    let (k, n) = (hits as f64, of as f64);
    if hits == 0 { 0.0 } else { inv_beta_reg(k, n - k + 1.0, tail) }
}

impl TryFrom<Counts> for Estimate {
    type Error = String;

    fn try_from(Counts { hits, of }: Counts) -> Result<Self, String> {
        Self::new(hits, of).ok_or_else(|| format!("{hits} of {of} is not a proportion"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.stats.binomtest(k, n).proportion_ci(0.95, "exact")` of SciPy.
    #[test]
    fn intervals_equal_scipy() {
        for (hits, of, low, high) in [
            (0, 10, 0.0, 0.308_497_107_818_762_9),
            (1, 10, 0.002_528_578_544_462_572_8, 0.445_016_117_028_198_2),
            (7, 10, 0.347_547_149_939_992_1, 0.933_260_488_822_265_5),
            (10, 10, 0.691_502_892_181_237_1, 1.0),
            (0, 1, 0.0, 0.975),
            (873, 1000, 0.850_759_969_665_140_2, 0.893_015_673_050_546_9),
            (1000, 1000, 0.996_317_916_103_360_8, 1.0),
            (1, 10_000, 2.531_777_563_270_631e-6, 0.000_557_036_997_986_968_9),
            (499, 1000, 0.467_552_186_253_738_2, 0.530_453_716_661_712_8),
        ] {
            let estimate = Estimate::new(hits, of).unwrap();
            assert!((estimate.low() - low).abs() < 1e-11, "{hits} of {of}: {} is not {low}", estimate.low());
            assert!((estimate.high() - high).abs() < 1e-11, "{hits} of {of}: {} is not {high}", estimate.high());
            assert!(estimate.low() <= estimate.rate() && estimate.rate() <= estimate.high());
        }
    }

    #[test]
    fn the_bound_equals_the_stored_reference() {
        let Some(material) = assay_reference::material() else { return };
        let golden = material.json("smoothing_golden.json");
        let rows = golden["certify"].as_array().unwrap();
        assert!(rows.len() > 100);
        for row in rows {
            let [k, n] = ["k", "n"].map(|field| row[field].as_u64().unwrap());
            let bound = lower(k, n, row["alpha"].as_f64().unwrap());
            let expected = row["p_lower"].as_f64().unwrap();
            assert!((bound - expected).abs() <= 1e-10 * expected.max(1e-3), "{row}: {bound}");
        }
    }

    #[test]
    fn nothing_is_no_rate() {
        assert_eq!(Estimate::new(0, 0), None);
        assert_eq!(Estimate::new(3, 2), None);
    }

    #[test]
    fn json_holds_the_counts_and_recomputes_the_rest() {
        let estimate = Estimate::new(7, 10).unwrap();
        let json = serde_json::to_string(&estimate).unwrap();
        assert!(json.starts_with(r#"{"hits":7,"of":10,"rate":0.7,"low":0.34"#), "{json}");
        assert_eq!(serde_json::from_str::<Estimate>(&json).unwrap(), estimate);
        assert_eq!(serde_json::from_str::<Estimate>(r#"{"hits":7,"of":10,"rate":0.99}"#).unwrap(), estimate);
        assert!(serde_json::from_str::<Estimate>(r#"{"hits":7,"of":0}"#).is_err());
    }
}
