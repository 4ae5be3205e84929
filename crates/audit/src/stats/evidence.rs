//! Evidence about a demand: how surprising an outcome is if the demand is not met, and if it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statrs::function::beta::beta_reg;

/// Level of all decisions: the largest probability of a claim, passed or failed, that is not true.
pub const ALPHA: f64 = 0.05;

/// Two one-sided p-values, each in `[0, 1]`: the largest probability, over all truths of its null hypothesis, of an outcome that
/// speaks at least as clearly against it. They are not each other's complement, and both are large where samples are few.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[must_use]
pub struct Evidence {
    /// Of "the demand is not met": small where it is proven met.
    pub p_met: f64,
    /// Of "the demand is met": small where it is proven missed.
    pub p_missed: f64,
}

impl Evidence {
    /// Nothing is known: no samples, or a threshold that is not a number.
    pub const NONE: Self = Self { p_met: 1.0, p_missed: 1.0 };
    /// The demand is met whatever the truth.
    pub(super) const MET: Self = Self { p_met: 0.0, p_missed: 1.0 };

    /// That a rate is at least `least`, after `hits` of `of`.
    ///
    /// The p-values are exact binomial tails at the threshold, which is the least favourable truth of both hypotheses. They are at
    /// most a level exactly where the one-sided bound of Clopper and Pearson at that level lies on the right side of the
    /// threshold (a lower bound of at least `least`, an upper bound of at most it), because the bound is the rate whose tail is the level.
    ///
    /// A threshold of 0 is met by every rate; one of 1 can never be proven met, because any rate below may still show no miss. A
    /// threshold outside `[0, 1]`, no samples and `hits > of` tell nothing.
    pub fn at_least(hits: u64, of: u64, least: f64) -> Self {
        match least {
            _ if of == 0 || hits > of || !(0.0..=1.0).contains(&least) => Self::NONE,
            0.0 => Self::MET,
            _ => Self { p_met: at_least(hits, of, least), p_missed: at_most(hits, of, least) },
        }
    }

    /// That a rate is at most `most`, after `hits` of `of`: the mirror image of [`Evidence::at_least`].
    pub fn at_most(hits: u64, of: u64, most: f64) -> Self {
        match most {
            _ if of == 0 || hits > of || !(0.0..=1.0).contains(&most) => Self::NONE,
            1.0 => Self::MET,
            _ => Self { p_met: at_most(hits, of, most), p_missed: at_least(hits, of, most) },
        }
    }

    /// That the mean of several rates of the same `of` samples is at most `most`, after `hits` in all `rates` of them together.
    ///
    /// Rates of the same samples depend on each other in a way that their counts do not tell. But each sample's own mean is a number
    /// in `[0, 1]`, and the samples are independent, so that Hoeffding's bound holds whatever the dependence: a mean of `of` such
    /// numbers is `x` or further from `most` with a probability of at most `exp(-of · KL(x ‖ most))` (Journal of the American Statistical
    /// Association 58, 1963, theorem 1). One rate has its exact tails.
    pub fn mean_at_most(hits: u64, rates: u64, of: u64, most: f64) -> Self {
        if rates <= 1 {
            return if rates == 0 { Self::NONE } else { Self::at_most(hits, of, most) };
        }
        let all = rates.saturating_mul(of);
        match most {
            _ if of == 0 || hits > all || !(0.0..=1.0).contains(&most) => Self::NONE,
            1.0 => Self::MET,
            _ => {
                let mean = hits as f64 / all as f64;
                let p = (-(of as f64) * divergence(mean, most)).exp();
                Self { p_met: if mean < most { p } else { 1.0 }, p_missed: if mean > most { p } else { 1.0 } }
            }
        }
    }
}

/// Probability of `hits` or more of `of` at the rate `rate`.
pub(super) fn at_least(hits: u64, of: u64, rate: f64) -> f64 {
    match hits {
        0 => 1.0,
        _ if hits > of => 0.0,
        _ => beta_reg(hits as f64, (of - hits) as f64 + 1.0, rate),
    }
}

/// Probability of `hits` or fewer of `of` at the rate `rate`.
pub(super) fn at_most(hits: u64, of: u64, rate: f64) -> f64 {
    if hits >= of { 1.0 } else { beta_reg((of - hits) as f64, hits as f64 + 1.0, 1.0 - rate) }
}

/// Kullback and Leibler's divergence of a coin that shows heads with probability `x` from one with `y`; infinite where the second
/// cannot do what the first does.
fn divergence(x: f64, y: f64) -> f64 {
    let part = |x: f64, y: f64| if x > 0.0 { x * (x / y).ln() } else { 0.0 };
    part(x, y) + part(1.0 - x, 1.0 - y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::estimate::lower;

    /// `scipy.stats.binomtest(hits, of, threshold, alternative="greater").pvalue`, and with `alternative="less"`, of SciPy.
    #[test]
    fn p_values_of_rates_equal_scipy() {
        for (hits, of, threshold, greater, less) in [
            (0, 10, 0.1, 1.0, 0.348_678_440_099_999_9),
            (7, 10, 0.5, 0.171_875, 0.945_312_5),
            (10, 10, 0.5, 0.000_976_562_5, 1.0),
            (10, 10, 0.9, 0.348_678_440_1, 1.0),
            (532, 1000, 0.5, 0.023_145_598_680_249_09, 0.980_110_359_892_529_4),
            (722, 1000, 0.7, 0.068_182_244_649_618_83, 0.940_560_720_387_789_4),
            (873, 1000, 0.9, 0.997_493_721_608_111, 0.003_384_116_182_585_18),
            (1, 10_000, 0.001, 0.999_954_826_654_022_9, 0.000_497_358_991_392_946_5),
            (30_500, 50_000, 0.6, 2.485_758_560_181_618_7e-6, 0.999_997_620_505_957_4),
            (0, 1, 0.5, 1.0, 0.5),
            (999, 1000, 0.999, 0.735_758_913_030_186_9, 0.632_304_575_229_036_3),
        ] {
            let close = |found: f64, expected: f64| (found - expected).abs() <= 1e-9 * expected;
            let found = Evidence::at_least(hits, of, threshold);
            assert!(close(found.p_met, greater) && close(found.p_missed, less), "{hits} of {of}: {found:?}");
            let found = Evidence::at_most(hits, of, threshold);
            assert!(close(found.p_met, less) && close(found.p_missed, greater), "{hits} of {of}: {found:?}");
        }
    }

    #[test]
    fn p_values_decide_as_the_bounds_of_clopper_and_pearson() {
        let mut decided = [0; 3];
        for of in [1, 2, 7, 30, 211] {
            for hits in 0..=of {
                for threshold in [0.01, 0.1, 0.3, 0.5, 0.77, 0.95, 0.999] {
                    let found = Evidence::at_least(hits, of, threshold);
                    let (low, high) = (lower(hits, of, ALPHA), 1.0 - lower(of - hits, of, ALPHA));
                    assert_eq!(found.p_met <= ALPHA, low >= threshold, "{hits} of {of}, {threshold}: {found:?}, {low}");
                    assert_eq!(
                        found.p_missed <= ALPHA,
                        high <= threshold,
                        "{hits} of {of}, {threshold}: {found:?}, {high}"
                    );
                    decided[usize::from(low >= threshold) + 2 * usize::from(high <= threshold)] += 1;
                }
            }
        }
        assert!(decided.iter().all(|&n| n > 100), "{decided:?}");
    }

    #[test]
    fn thresholds_at_the_ends_and_those_that_are_none() {
        for of in [1, 10, 10_000] {
            for hits in [0, of / 2, of] {
                assert_eq!(Evidence::at_least(hits, of, 0.0), Evidence::MET);
                assert_eq!(Evidence::at_most(hits, of, 1.0), Evidence::MET);
                let all = Evidence { p_met: 1.0, p_missed: if hits == of { 1.0 } else { 0.0 } };
                assert_eq!(Evidence::at_least(hits, of, 1.0), all);
                assert_eq!(Evidence::at_most(of - hits, of, 0.0), all);
                for threshold in [f64::NAN, f64::INFINITY, -0.1, 1.1] {
                    assert_eq!(Evidence::at_least(hits, of, threshold), Evidence::NONE);
                    assert_eq!(Evidence::at_most(hits, of, threshold), Evidence::NONE);
                    assert_eq!(Evidence::mean_at_most(hits, 2, of, threshold), Evidence::NONE);
                }
            }
        }
        for (hits, of) in [(0, 0), (2, 1)] {
            assert_eq!(Evidence::at_least(hits, of, 0.0), Evidence::NONE);
            assert_eq!(Evidence::at_most(hits, of, 1.0), Evidence::NONE);
            assert_eq!(Evidence::mean_at_most(hits * 2, 2, of, 1.0), Evidence::NONE);
        }
        assert_eq!(Evidence::mean_at_most(0, 0, 10, 0.5), Evidence::NONE);
    }

    #[test]
    fn a_mean_is_decided_by_hoeffdings_bound() {
        // KL(0.25 ‖ 0.5) = 0.25 ln 0.5 + 0.75 ln 1.5, and the sum of 3 rates of 100 samples.
        let kl = 0.25 * 0.5_f64.ln() + 0.75 * 1.5_f64.ln();
        let found = Evidence::mean_at_most(75, 3, 100, 0.5);
        assert!((found.p_met - (-100.0 * kl).exp()).abs() < 1e-15 && found.p_missed == 1.0, "{found:?}");
        let found = Evidence::mean_at_most(225, 3, 100, 0.5);
        assert!((found.p_missed - (-100.0 * kl).exp()).abs() < 1e-15 && found.p_met == 1.0, "{found:?}");
        // Never clearer than the exact tails of one rate: the bound holds for it too.
        for errors in 0..=100 {
            let (one, two) =
                (Evidence::mean_at_most(errors, 1, 100, 0.3), Evidence::mean_at_most(2 * errors, 2, 100, 0.3));
            assert_eq!(one, Evidence::at_most(errors, 100, 0.3));
            assert!(
                two.p_met >= one.p_met * (1.0 - 1e-9) && two.p_missed >= one.p_missed * (1.0 - 1e-9),
                "{errors}: {one:?}, {two:?}"
            );
        }
        // No error at all: nothing is left of the divergence but the threshold.
        assert!((Evidence::mean_at_most(0, 2, 10, 0.3).p_met - 0.7_f64.powi(10)).abs() < 1e-12);
        assert_eq!(Evidence::mean_at_most(1, 2, 10, 0.0), Evidence { p_met: 1.0, p_missed: 0.0 });
        assert_eq!(Evidence::mean_at_most(20, 2, 10, 1.0), Evidence::MET);
    }
}
