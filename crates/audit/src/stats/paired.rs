//! Two models on the same samples.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statrs::function::beta::beta_reg;

/// Square root of the 95 % quantile of χ² with one degree of freedom: the normal quantile of a two-sided 95 % interval.
const Z: f64 = 1.959_963_984_540_054;

/// How often each of two models succeeded on the same samples, what that says about their difference, and how likely a
/// difference this large is if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Discordant samples if whatever could not be measured had gone in favour of the first.
    pub worst: Discordant,
    /// Discordant samples if whatever could not be measured had gone in favour of the second.
    pub best: Discordant,
    /// Rate of the second less that of the first.
    pub difference: Difference,
    /// McNemar's exact two-sided p: `only_first` is binomial with probability ½ among the discordant pairs if the models
    /// are equally good; twice the smaller tail, at most 1 (McNemar, Psychometrika 12, 1947; exact form: Cochran 1950).
    pub p_value: f64,
}

/// Samples in which only one of two models succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Discordant {
    /// Only the first.
    pub only_first: u64,
    /// Only the second.
    pub only_second: u64,
}

/// A difference of two paired proportions with Tango's score interval at 95 % (Statistics in Medicine 17, 1998): all
/// differences that the score test with the constrained maximum-likelihood estimate does not reject.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Compares the successes of two models on the same samples in the same order; `None` if there are none or their numbers differ.
    /// What could not be measured (`None`) is no success, but for the two extremes.
    pub fn new(first: &[Option<bool>], second: &[Option<bool>]) -> Option<Self> {
        if first.is_empty() || first.len() != second.len() {
            return None;
        }
        let (table, worst, best) = (
            table(first, second, [false, false]),
            table(first, second, [true, false]),
            table(first, second, [false, true]),
        );
        let [neither, only_second, only_first, both] = table;
        let difference = Difference::tango(only_second, only_first, first.len() as u64);
        let [worst, best] = [worst, best].map(|[_, only_second, only_first, _]| Discordant { only_first, only_second });
        let p_value = mcnemar(only_first, only_second);
        Some(Self { both, only_first, only_second, neither, worst, best, difference, p_value })
    }

    /// Number of samples.
    #[must_use]
    pub fn of(&self) -> u64 {
        self.both + self.only_first + self.only_second + self.neither
    }
}

impl Difference {
    /// Interval of `(gained - lost) / n` for `gained` and `lost` discordant pairs among `n >= 1`.
    pub(super) fn tango(gained: u64, lost: u64, n: u64) -> Self {
        let value = (gained as f64 - lost as f64) / n as f64;
        let [b, c, n] = [gained, lost, n].map(|count| count as f64);
        // The score falls as the supposed difference grows.
        let high = if value >= 1.0 { 1.0 } else { bisect(value, 1.0, |d| score(b, c, n, d) > -Z) };
        let low = if value <= -1.0 { -1.0 } else { bisect(-1.0, value, |d| score(b, c, n, d) > Z) };
        Self { value, low, high }
    }
}

/// Counts of neither, only the second, only the first and both, where what could not be measured is `unknown` for each model.
fn table(first: &[Option<bool>], second: &[Option<bool>], unknown: [bool; 2]) -> [u64; 4] {
    let mut table = [0_u64; 4];
    for (a, b) in first.iter().zip(second) {
        table[usize::from(a.unwrap_or(unknown[0])) * 2 + usize::from(b.unwrap_or(unknown[1]))] += 1;
    }
    table
}

/// Tango's score of `b` against `c` discordant pairs among `n` for a supposed difference `d` (his equations 6 and 7); 0 where there
/// is neither an excess nor a variance.
pub(super) fn score(b: f64, c: f64, n: f64, d: f64) -> f64 {
    let linear = -b - c + (2.0 * n - b + c) * d;
    let constant = -c * d * (1.0 - d);
    let q = ((linear * linear - 8.0 * n * constant).max(0.0).sqrt() - linear) / (4.0 * n);
    let variance = n * (2.0 * q + d * (1.0 - d));
    let excess = b - c - n * d;
    match excess {
        0.0 => 0.0,
        _ if variance > 0.0 => excess / variance.sqrt(),
        _ => excess.signum() * f64::INFINITY,
    }
}

/// Where `before` turns from true to false between `low` and `high`, to the last bit.
pub(super) fn bisect(mut low: f64, mut high: f64, before: impl Fn(f64) -> bool) -> f64 {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn paired(both: usize, only_first: usize, only_second: usize, neither: usize) -> Paired {
        let rows = [
            ((Some(true), Some(true)), both),
            ((Some(true), Some(false)), only_first),
            ((Some(false), Some(true)), only_second),
            ((Some(false), Some(false)), neither),
        ];
        let flags = rows.into_iter().flat_map(|(flags, times)| std::iter::repeat_n(flags, times));
        let (first, second): (Vec<_>, Vec<_>) = flags.unzip();
        Paired::new(&first, &second).unwrap()
    }

    /// `statsmodels.stats.contingency_tables.mcnemar([[50, b], [c, 20]], exact=True).pvalue` of statsmodels.
    #[test]
    fn p_values_equal_statsmodels() {
        for (b, c, p) in [
            (0, 0, 1.0),
            (0, 1, 1.0),
            (5, 0, 0.0625),
            (3, 9, 0.145_996_093_75),
            (9, 3, 0.145_996_093_75),
            (25, 41, 0.064_017_504_137_225_65),
            (100, 140, 0.011_664_092_317_677_69),
            (10, 10, 1.0),
            (0, 60, 1.734_723_475_976_807e-18),
        ] {
            let found = paired(50, b, c, 20).p_value;
            assert!((found - p).abs() <= 1e-11 * p, "{b} against {c}: {found} is not {p}");
        }
    }

    #[test]
    fn p_values_equal_the_stored_reference() {
        let Some(material) = assay_reference::material() else { return };
        let golden = material.json("smoothing_golden.json");
        let rows = golden["predict"].as_array().unwrap();
        assert!(!rows.is_empty());
        for row in rows {
            let [a, b] = ["count1", "count2"].map(|field| row[field].as_u64().unwrap());
            let expected = row["p_value"].as_f64().unwrap();
            assert!((mcnemar(a, b) - expected).abs() <= 1e-9 * expected, "{row}: {}", mcnemar(a, b));
        }
    }

    /// Tango's definition carried out numerically: the nuisance parameter by `scipy.optimize.minimize_scalar` on the
    /// likelihood under each difference, the ends by `scipy.optimize.brentq` on the score.
    #[test]
    fn intervals_equal_those_by_numerical_likelihood() {
        for (gained, lost, n, low, high) in [
            (12, 2, 50, 0.061_112_406_8, 0.344_708_748_7),
            (2, 12, 50, -0.344_708_749_8, -0.061_112_406_3),
            (5, 0, 44, 0.024_216_260_5, 0.239_791_524_2),
            (25, 41, 1000, -0.032_622_142_3, -0.000_079_334_98),
            (100, 140, 1000, -0.070_472_616_8, -0.009_701_600_6),
            (1, 0, 10, -0.205_286_079_8, 0.404_150_026_8),
            (30, 5, 40, 0.360_987_528_2, 0.791_315_260_8),
        ] {
            let found = Difference::tango(gained, lost, n);
            assert!((found.low - low).abs() < 1e-7, "{gained}, {lost} of {n}: {} is not {low}", found.low);
            assert!((found.high - high).abs() < 1e-7, "{gained}, {lost} of {n}: {} is not {high}", found.high);
        }
    }

    #[test]
    fn intervals_have_their_closed_form_without_discordant_pairs() {
        for n in [1, 40, 10_000] {
            let Difference { value, low, high } = Difference::tango(0, 0, n);
            let bound = Z * Z / (n as f64 + Z * Z);
            assert_eq!(value, 0.0);
            assert!((high - bound).abs() < 1e-12 && (low + bound).abs() < 1e-12, "{n}: {low}, {high}, {bound}");
        }
    }

    #[test]
    fn ends_stay_within_one_and_around_the_estimate() {
        for n in 1..=12_u64 {
            for gained in 0..=n {
                for lost in 0..=n - gained {
                    let Difference { value, low, high } = Difference::tango(gained, lost, n);
                    assert!(
                        -1.0 <= low && low <= value && value <= high && high <= 1.0,
                        "{gained}, {lost} of {n}: {low}, {value}, {high}"
                    );
                }
            }
        }
    }

    #[test]
    fn counts_are_those_of_the_table() {
        let found = paired(5, 3, 2, 1);
        assert_eq!((found.both, found.only_first, found.only_second, found.neither, found.of()), (5, 3, 2, 1, 11));
        assert_eq!(found.difference.value, -1.0 / 11.0);
        assert_eq!(Paired::new(&[], &[]), None);
        assert_eq!(Paired::new(&[Some(true)], &[]), None);
        assert_eq!((found.worst, found.best), (Discordant { only_first: 3, only_second: 2 }, found.worst));
    }

    #[test]
    fn what_could_not_be_measured_goes_either_way() {
        let (yes, no) = (Some(true), Some(false));
        let found = Paired::new(&[yes, yes, None, None, None, no], &[yes, None, yes, no, None, None]).unwrap();
        assert_eq!((found.both, found.only_first, found.only_second, found.neither), (1, 1, 1, 3));
        assert_eq!(found.worst, Discordant { only_first: 3, only_second: 0 });
        assert_eq!(found.best, Discordant { only_first: 0, only_second: 3 });
    }
}
