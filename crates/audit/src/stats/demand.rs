//! What is asked of rates, and what counts say about it.

use super::evidence::Evidence;
use super::paired::Discordant;

/// What is asked of rates in `[0, 1]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Demand {
    /// A rate is at least this.
    AtLeast(f64),
    /// A rate is at most this.
    AtMost(f64),
    /// The mean of so many rates of the same samples is at most this.
    MeanAtMost {
        /// Number of rates.
        rates: u64,
        /// The most that their mean may be.
        most: f64,
    },
    /// The first model's rate is at most this above the second's, on the same samples.
    DropAtMost(f64),
}

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Samples that a rate counts, or those of all rates of a mean together.
    Hits(u64),
    /// Samples in which only one of two models succeeded.
    Pairs(Discordant),
}

/// Whether any outcome could decide a demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Decidable {
    /// Some outcome would prove it met.
    pub pass: bool,
    /// Some outcome would prove it missed.
    pub fail: bool,
}

impl Demand {
    /// Its threshold.
    #[must_use]
    pub fn threshold(self) -> f64 {
        match self {
            Self::AtLeast(threshold) | Self::AtMost(threshold) | Self::DropAtMost(threshold) => threshold,
            Self::MeanAtMost { most, .. } => most,
        }
    }

    /// What `counts` of `of` samples say about it; counts of another kind say nothing.
    pub fn evidence(self, counts: Counts, of: u64) -> Evidence {
        match (self, counts) {
            (Self::AtLeast(least), Counts::Hits(hits)) => Evidence::at_least(hits, of, least),
            (Self::AtMost(most), Counts::Hits(hits)) => Evidence::at_most(hits, of, most),
            (Self::MeanAtMost { rates, most }, Counts::Hits(hits)) => Evidence::mean_at_most(hits, rates, of, most),
            (Self::DropAtMost(most), Counts::Pairs(Discordant { only_first, only_second })) => {
                Evidence::drop_at_most(only_first, only_second, of, most)
            }
            _ => Evidence::NONE,
        }
    }

    /// The clearest evidence in favour that `of` samples can give.
    pub fn best(self, of: u64) -> Evidence {
        self.evidence(
            match self {
                Self::AtLeast(_) => Counts::Hits(of),
                Self::AtMost(_) | Self::MeanAtMost { .. } => Counts::Hits(0),
                Self::DropAtMost(_) => Counts::Pairs(Discordant { only_first: 0, only_second: of }),
            },
            of,
        )
    }

    /// The clearest evidence against it that `of` samples can give.
    pub fn worst(self, of: u64) -> Evidence {
        self.evidence(
            match self {
                Self::AtLeast(_) => Counts::Hits(0),
                Self::AtMost(_) => Counts::Hits(of),
                Self::MeanAtMost { rates, .. } => Counts::Hits(rates.saturating_mul(of)),
                Self::DropAtMost(_) => Counts::Pairs(Discordant { only_first: of, only_second: 0 }),
            },
            of,
        )
    }

    /// Whether any outcome on `of` samples could prove it met, and whether any could prove it missed, at level `alpha`.
    pub fn decidable(self, of: u64, alpha: f64) -> Decidable {
        Decidable { pass: self.best(of).p_met <= alpha, fail: self.worst(of).p_missed <= alpha }
    }

    /// One-sided bound at level `alpha` of what is demanded, on the side that proves it met: the strictest threshold that these
    /// counts prove met, to a few ten-thousandths on the safe side. It is on the right side of the demand's own threshold exactly where
    /// that is proven met.
    #[must_use]
    pub fn bound_if_met(self, counts: Counts, of: u64, alpha: f64) -> Option<f64> {
        let easiest = if matches!(self, Self::AtLeast(_)) { 0.0 } else { 1.0 };
        self.strictest(easiest, |demand| demand.evidence(counts, of).p_met <= alpha)
    }

    /// The same on the other side: the most lenient threshold that these counts prove missed. `None` where they prove none
    /// missed, as of a drop that may be a gain.
    #[must_use]
    pub fn bound_if_missed(self, counts: Counts, of: u64, alpha: f64) -> Option<f64> {
        let easiest = if matches!(self, Self::AtLeast(_)) { 1.0 } else { 0.0 };
        self.strictest(easiest, |demand| demand.evidence(counts, of).p_missed <= alpha)
    }

    /// The threshold furthest from `easiest` that still `holds`, if that one does.
    fn strictest(self, easiest: f64, holds: impl Fn(Self) -> bool) -> Option<f64> {
        let at = |threshold: f64| match self {
            Self::AtLeast(_) => Self::AtLeast(threshold),
            Self::AtMost(_) => Self::AtMost(threshold),
            Self::MeanAtMost { rates, .. } => Self::MeanAtMost { rates, most: threshold },
            Self::DropAtMost(_) => Self::DropAtMost(threshold),
        };
        let own = self.threshold();
        let (mut inside, mut outside) = if (0.0..=1.0).contains(&own) && holds(at(own)) {
            (own, 1.0 - easiest)
        } else if holds(at(easiest)) {
            (easiest, own)
        } else {
            return None;
        };
        while (outside - inside).abs() > 2e-4 {
            let middle = f64::midpoint(inside, outside);
            if holds(at(middle)) {
                inside = middle;
            } else {
                outside = middle;
            }
        }
        Some(inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::ALPHA;
    use crate::stats::estimate::lower;

    #[test]
    fn few_samples_decide_nothing() {
        // All of n right: the threshold to the power of n. All of n wrong: its complement.
        let half = |of| Demand::AtLeast(0.5).decidable(of, ALPHA);
        assert_eq!((half(4), half(5)), (Decidable { pass: false, fail: false }, Decidable { pass: true, fail: true }));
        let high = |of| Demand::AtLeast(0.9).decidable(of, ALPHA);
        assert_eq!((high(28), high(29)), (Decidable { pass: false, fail: true }, Decidable { pass: true, fail: true }));
        assert_eq!(Demand::AtLeast(1.0).decidable(1_000_000, ALPHA), Decidable { pass: false, fail: true });
        assert_eq!(Demand::AtLeast(0.0).decidable(1, ALPHA), Decidable { pass: true, fail: false });
        assert_eq!(Demand::AtMost(0.1).decidable(28, ALPHA), high(28));
        assert_eq!(Demand::AtLeast(f64::NAN).decidable(1000, ALPHA), Decidable { pass: false, fail: false });
        let drop = |of| Demand::DropAtMost(0.1).decidable(of, ALPHA);
        assert_eq!((drop(3), drop(5)), (Decidable { pass: false, fail: false }, Decidable { pass: true, fail: false }));
        // All gained at a rate of 0.45, or all lost at one of 0.55.
        assert_eq!(drop(6), Decidable { pass: true, fail: true });
        assert_eq!(Demand::DropAtMost(1.0).decidable(1, ALPHA), Decidable { pass: true, fail: false });
        let mean = Demand::MeanAtMost { rates: 15, most: 0.1 };
        assert_eq!(mean.decidable(28, ALPHA), Decidable { pass: false, fail: true });
        assert_eq!(mean.decidable(29, ALPHA), Decidable { pass: true, fail: true });
    }

    #[test]
    fn bounds_of_rates_are_those_of_clopper_and_pearson() {
        for (hits, of) in [(0, 20), (13, 20), (20, 20), (722, 1000)] {
            let (low, high) = (lower(hits, of, 0.0125), 1.0 - lower(of - hits, of, 0.0125));
            for threshold in [0.0, 0.3, 0.7, 1.0] {
                let found = Demand::AtLeast(threshold).bound_if_met(Counts::Hits(hits), of, 0.0125).unwrap();
                assert!((0.0..=2e-4).contains(&(low - found)), "{hits} of {of}: {found}, {low}");
                let found = Demand::AtLeast(threshold).bound_if_missed(Counts::Hits(hits), of, 0.0125);
                // Nothing is missed for certain where all are hits.
                assert_eq!(found.is_none(), hits == of);
                assert!(
                    found.is_none_or(|found| (-1e-12..=2e-4).contains(&(found - high))),
                    "{hits} of {of}: {found:?}, {high}"
                );
            }
        }
    }

    #[test]
    fn bounds_are_on_the_side_of_the_decision() {
        let (mut met, mut missed) = (0, 0);
        for (only_first, only_second) in [(0, 0), (3, 1), (9, 2), (20, 2), (1, 9)] {
            for most in [0.0, 0.01, 0.05, 0.1, 0.2] {
                let (demand, counts) =
                    (Demand::DropAtMost(most), Counts::Pairs(Discordant { only_first, only_second }));
                let evidence = demand.evidence(counts, 100);
                let high = demand.bound_if_met(counts, 100, ALPHA).unwrap();
                assert_eq!(evidence.p_met <= ALPHA, high <= most, "{only_first}, {only_second}, {most}: {high}");
                let low = demand.bound_if_missed(counts, 100, ALPHA);
                assert_eq!(
                    evidence.p_missed <= ALPHA,
                    low.is_some_and(|low| low >= most),
                    "{only_first}, {most}: {low:?}"
                );
                met += u32::from(high <= most);
                missed += u32::from(evidence.p_missed <= ALPHA);
            }
        }
        assert!(met > 3 && missed > 3, "{met}, {missed}");
        assert_eq!(Demand::DropAtMost(0.1).evidence(Counts::Hits(0), 100), Evidence::NONE);
    }
}
