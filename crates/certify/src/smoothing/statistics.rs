//! What votes prove.

use std::f64::consts::{PI, SQRT_2};

use statrs::function::beta::{beta_reg, inv_beta_reg};
use statrs::function::erf::erfc_inv;
use statrs::function::gamma::checked_gamma_ur;

/// One-sided lower bound of a probability, from `hits` of `of`, that is too high with a probability of at most `alpha` (Clopper and Pearson,
/// Biometrika 26, 1934).
pub(super) fn lower(hits: u64, of: u64, alpha: f64) -> f64 {
    if hits == 0 || hits > of {
        return 0.0;
    }
    let (k, n) = (hits as f64, of as f64);
    let about = inv_beta_reg(k, n - k + 1.0, alpha).clamp(0.0, 1.0);
    // The inverse has eleven digits, the function itself fourteen, and the lower end of what encloses the bound is on the safe side.
    let proved = |p: f64| at_least(hits, of, p) <= alpha;
    let (mut low, mut high) = (about * (1.0 - NEAR), (about * (1.0 + NEAR)).min(1.0));
    if !proved(low) {
        low = 0.0;
    }
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            return low;
        }
        if proved(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
}

/// Relative distance within which the approximate inverse is taken to lie.
const NEAR: f64 = 1e-9;

/// Probability of `hits` or more of `of`, where each is one with probability `p`.
fn at_least(hits: u64, of: u64, p: f64) -> f64 {
    let (k, n) = (hits as f64, of as f64);
    if hits == 0 { 1.0 } else { beta_reg(k, n - k + 1.0, p) }
}

/// The radius in L2 within which a class stays the likeliest under noise of `sigma`, if it has at least the probability `p`; `None` where that is
/// not more than half.
pub(super) fn radius(sigma: f64, p: f64) -> Option<f64> {
    (p > 0.5).then(|| sigma * quantile(p)).filter(|radius| radius.is_finite())
}

/// The number below which a standard normal deviate lies with probability `p`, at least 1/2.
fn quantile(p: f64) -> f64 {
    let beyond = 1.0 - p;
    if beyond <= 0.0 {
        return f64::INFINITY;
    }
    let density = |x: f64| (-x * x / 2.0).exp() / (2.0 * PI).sqrt();
    // `erfc_inv` has eight digits, and so has `erfc`, but not the incomplete gamma function that it is; each of Newton's steps doubles them.
    // It is not given at 0.
    let tail = |x: f64| checked_gamma_ur(0.5, x * x / 2.0).map_or(0.5, |both| both / 2.0);
    (0..2).fold(SQRT_2 * erfc_inv(2.0 * beyond), |x, _| x + (tail(x) - beyond) / density(x))
}

/// The fewest votes of `of` whose lower bound is more than half; `of + 1` where there are none.
pub(super) fn least_votes(of: u64, alpha: f64) -> u64 {
    let (mut low, mut high) = (0, of + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if lower(middle, of, alpha) > 0.5 {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// The fewest draws that can prove a majority at `alpha`, if all agree: their probability is `2^-n` where there is none.
pub(super) fn least_samples(alpha: f64) -> u64 {
    (1..).find(|&n| lower(n, n, alpha) > 0.5).unwrap_or(u64::MAX)
}

/// P-value of the hypothesis that two classes with so many votes, the larger first, are equally likely: two-sided, exact.
pub(super) fn equally_likely(first: u64, second: u64) -> f64 {
    (2.0 * at_least(first, first + second, 0.5)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_radii_and_p_values_equal_scipy() {
        let Some(material) = assay_reference::material() else { return };
        let golden = material.json("smoothing_golden.json");
        let rows = golden["certify"].as_array().unwrap();
        assert!(rows.len() > 100);
        for row in rows {
            let [k, n] = ["k", "n"].map(|field| row[field].as_u64().unwrap());
            let alpha = row["alpha"].as_f64().unwrap();
            let (bound, expected) = (lower(k, n, alpha), row["p_lower"].as_f64().unwrap());
            assert!((bound - expected).abs() <= 1e-10 * expected.max(1e-3), "{row}: {bound}");
            let found = radius(1.0, bound);
            assert_eq!(found.is_none(), row["abstain"].as_bool().unwrap(), "{row}");
            let expected = row["radius_sigma1"].as_f64().unwrap();
            assert!((found.unwrap_or(0.0) - expected).abs() <= 1e-9, "{row}: {found:?}");
        }
        for row in golden["predict"].as_array().unwrap() {
            let [first, second] = ["count1", "count2"].map(|field| row[field].as_u64().unwrap());
            let (p, expected) = (equally_likely(first, second), row["p_value"].as_f64().unwrap());
            assert!((p - expected).abs() <= 1e-10 * expected.max(1e-10), "{row}: {p}");
            assert_eq!(p > row["alpha"].as_f64().unwrap(), row["abstain"].as_bool().unwrap(), "{row}");
        }
        for pair in golden["norm_ppf"].as_array().unwrap() {
            let [p, expected] = [0, 1].map(|i| pair[i].as_f64().unwrap());
            assert!((quantile(p) - expected).abs() <= 1e-9, "{p}: {}", quantile(p));
        }
    }

    #[test]
    fn a_bound_is_never_on_the_wrong_side() {
        for of in [1, 7, 100, 1000, 100_000] {
            for hits in [1, of / 2, of / 2 + 1, of - of / 10, of] {
                for alpha in [1e-6, 0.001, 0.05, 0.4] {
                    let bound = lower(hits.max(1), of, alpha);
                    assert!(at_least(hits.max(1), of, bound) <= alpha, "{hits} of {of} at {alpha}: {bound}");
                }
            }
        }
        assert_eq!((lower(0, 10, 0.05), lower(11, 10, 0.05)), (0.0, 0.0));
    }

    #[test]
    fn so_many_votes_are_needed_and_no_fewer() {
        for (of, alpha) in [(10, 0.001), (100, 0.001), (1000, 0.05), (100_000, 0.001)] {
            let least = least_votes(of, alpha);
            assert!(least <= of && radius(1.0, lower(least, of, alpha)).is_some(), "{of} at {alpha}: {least}");
            assert!(radius(1.0, lower(least - 1, of, alpha)).is_none(), "{of} at {alpha}: {least}");
        }
        assert_eq!(least_votes(9, 0.001), 10);
        // 2^-9 is more than 0.001, 2^-10 less.
        assert_eq!((least_samples(0.001), least_samples(0.0005)), (10, 11));
    }

    #[test]
    fn what_is_no_majority_has_no_radius() {
        assert!(radius(1.0, 0.5).is_none() && radius(1.0, f64::NAN).is_none() && radius(1.0, 1.0).is_none());
    }
}
