//! How many samples a decision takes.

use statrs::function::erf::erfc_inv;

use super::demand::Demand;
use super::evidence::at_least;
use super::paired::score;

/// Probability of a decision that samples are counted for.
pub const POWER: f64 = 0.8;
/// More samples than this are not looked for.
const MOST: u64 = 10_000_000;

impl Demand {
    /// Samples with which the demand is probably decided, that is with a probability of [`POWER`], at level `alpha`, if the true
    /// rate is `truth`: proven met where that meets it, else proven missed. For a drop, `truth` is the true drop, and `discordant` the rate
    /// of samples in which only one of the two models succeeds; rates ignore it.
    ///
    /// For a rate, probabilities are exact. They rise with the samples like a saw, because critical values are whole; the answer is the
    /// first number from which on a whole tooth stays above the power. For a drop and for a mean they are those of the normal limit of the
    /// score, and for a mean as if the rates were the same in every sample, which no other dependence exceeds.
    ///
    /// `None` where `truth` is the threshold or next to it (more than ten million samples), or is no rate, or where no number is enough.
    #[must_use]
    pub fn samples_needed(self, truth: f64, discordant: f64, alpha: f64) -> Option<u64> {
        if !(alpha > 0.0 && alpha < 1.0) {
            return None;
        }
        match self {
            Self::AtLeast(least) if truth >= least => rate(least, truth, alpha),
            Self::AtLeast(least) => rate(1.0 - least, 1.0 - truth, alpha),
            Self::AtMost(most) | Self::MeanAtMost { rates: 1, most } => {
                Self::AtLeast(1.0 - most).samples_needed(1.0 - truth, discordant, alpha)
            }
            Self::MeanAtMost { most, .. } => mean(most, truth, alpha),
            Self::DropAtMost(most) => drop(most, truth, discordant, alpha),
        }
    }
}

/// Samples that prove a rate of at least `least` where it is `truth`, which is above.
fn rate(least: f64, truth: f64, alpha: f64) -> Option<u64> {
    if !((0.0..1.0).contains(&least) && truth > least && truth <= 1.0) {
        return None;
    }
    if least == 0.0 {
        return Some(1);
    }
    // A tooth is as long as it takes for one more hit, or one more miss, to be allowed.
    let tooth = (1.0 / least.min(1.0 - least)).ceil().min(1_000.0) as u64;
    let holds = |n: u64| (n..=n + tooth).all(|n| power(n, least, truth, alpha) >= POWER);
    let (mut low, mut high) = (0, 1);
    while !holds(high) {
        (low, high) = (high, high * 2);
        if high > MOST {
            return None;
        }
    }
    while low + 1 < high {
        let middle = low.midpoint(high);
        if holds(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    // Where a tooth ends is rounded, so that it may hold a little earlier, too.
    (high.saturating_sub(16 * tooth.min(64))..=high).find(|&n| n > 0 && holds(n))
}

/// Probability that `n` samples prove a rate of at least `least` where it is `truth`.
fn power(n: u64, least: f64, truth: f64, alpha: f64) -> f64 {
    // The fewest hits that prove it; more than n if none do.
    let (mut low, mut high) = (0, n + 1);
    while low < high {
        let middle = low.midpoint(high);
        if at_least(middle, n, least) <= alpha {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    at_least(high, n, truth)
}

/// Samples that decide a drop of at most `most` where it is `truth`.
fn drop(most: f64, truth: f64, discordant: f64, alpha: f64) -> Option<u64> {
    let possible = (-1.0..=1.0).contains(&truth) && (truth.abs()..=1.0).contains(&discordant);
    if !(0.0..1.0).contains(&most) || !possible {
        return None;
    }
    let (gained, lost) = ((discordant - truth) / 2.0, (discordant + truth) / 2.0);
    let distance = (most - truth).abs();
    // Of one sample's share: the score is the distance over the deviation that it supposes.
    let supposed = distance / score(gained, lost, 1.0, -most).abs();
    let spread = (discordant - truth * truth).max(0.0).sqrt();
    whole(((quantile(alpha) * supposed + quantile(1.0 - POWER) * spread) / distance).powi(2))
}

/// Samples that decide a mean of at most `most` where it is `truth`.
fn mean(most: f64, truth: f64, alpha: f64) -> Option<u64> {
    if !(most > 0.0 && most < 1.0 && (0.0..=1.0).contains(&truth)) {
        return None;
    }
    // Hoeffding's bound is the level where the observed mean is so many deviations from the threshold.
    let deviation = |rate: f64| (rate * (1.0 - rate)).sqrt();
    let needed = (-2.0 * alpha.ln()).sqrt() * deviation(most) + quantile(1.0 - POWER) * deviation(truth);
    whole((needed / (most - truth).abs()).powi(2))
}

/// The next whole number of samples; none where it is not finite or too large.
fn whole(samples: f64) -> Option<u64> {
    (samples <= MOST as f64).then(|| samples.ceil().max(1.0) as u64)
}

/// The standard normal deviate that is exceeded with probability `tail`.
fn quantile(tail: f64) -> f64 {
    std::f64::consts::SQRT_2 * erfc_inv(2.0 * tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::ALPHA;

    /// The first number that holds with a tooth to come, tried one by one with `scipy.stats.binom`:
    /// `binom.sf(binom.isf(alpha, n, threshold), n, truth) >= 0.8`.
    #[test]
    fn samples_of_rates_equal_scipy() {
        for (threshold, truth, alpha, expected) in [
            (0.5, 0.6, 0.05, 169),
            (0.5, 0.55, 0.05, 643),
            (0.6, 0.722, 0.05, 105),
            (0.6, 0.722, 0.0125, 156),
            (0.9, 0.95, 0.05, 203),
            (0.05, 0.1, 0.05, 191),
            (0.99, 1.0, 0.05, 299),
            (0.3, 0.31, 0.05, 13_240),
        ] {
            assert_eq!(
                Demand::AtLeast(threshold).samples_needed(truth, 0.0, alpha),
                Some(expected),
                "{threshold}, {truth}"
            );
        }
    }

    #[test]
    fn failing_is_passing_seen_from_the_other_side() {
        let fail = Demand::AtLeast(0.6).samples_needed(0.5, 0.0, ALPHA);
        assert_eq!(fail, Demand::AtLeast(0.4).samples_needed(0.5, 0.0, ALPHA));
        assert_eq!(fail, Demand::AtMost(0.4).samples_needed(0.5, 0.0, ALPHA));
        let n = fail.unwrap();
        let fails =
            |n: u64| (0..=n).filter(|&k| at_least(n - k, n, 0.4) <= ALPHA).max().map(|k| 1.0 - at_least(k + 1, n, 0.5));
        assert!(fails(n).unwrap() >= POWER && fails(n - 3).unwrap() < POWER, "{n}");
    }

    #[test]
    fn there_is_no_number_next_to_the_threshold_or_for_nonsense() {
        for demand in [Demand::AtLeast(0.5), Demand::AtMost(0.5), Demand::MeanAtMost { rates: 3, most: 0.5 }] {
            for truth in [0.5, 0.5 + 1e-9, f64::NAN, 2.0, -1.0] {
                assert_eq!(demand.samples_needed(truth, 0.0, ALPHA), None, "{demand:?}, {truth}");
            }
            assert!(demand.samples_needed(0.7, 0.0, ALPHA).is_some());
            assert_eq!(demand.samples_needed(0.7, 0.0, 0.0), None);
        }
        assert_eq!(Demand::AtLeast(1.0).samples_needed(1.0, 0.0, ALPHA), None);
        assert_eq!(Demand::AtLeast(f64::NAN).samples_needed(0.5, 0.0, ALPHA), None);
        for (most, truth, discordant) in
            [(0.05, 0.05, 0.1), (0.05, 0.0, f64::NAN), (0.05, 0.2, 0.1), (f64::NAN, 0.0, 0.1)]
        {
            assert_eq!(Demand::DropAtMost(most).samples_needed(truth, discordant, ALPHA), None);
        }
    }
}
