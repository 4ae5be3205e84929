//! What follows from evidence, where there are several demands.

use super::evidence::{ALPHA, Evidence};

/// What the samples say about a demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// Proven met.
    Passed,
    /// Proven missed.
    Failed,
    /// Neither: more samples would tell.
    Inconclusive,
}

/// Decides each of the demands of one audit at level [`ALPHA`], and returns its evidence with the p-values adjusted.
///
/// Which claims make a family? "All demands are met" alone would need no adjustment: it is false only if one demand is missed, and
/// then it takes a false claim about that very one (an intersection-union test; Berger, Technometrics 24, 1982). But reports are
/// read line by line: whoever quotes one passed gate of twenty picked it among twenty. And "a demand is missed" is false as soon as
/// one of many is claimed falsely. So all claims "met" of an audit, over every gate, model and threat, are one family, all claims "missed" another, and
/// Holm's adjustment holds in each: the probability that any line says "passed" wrongly is at most [`ALPHA`], and so is that of any wrong "failed".
/// The verdict of the whole audit inherits both. Its price is small where it matters: the step-down asks α/m of the clearest of m claims only,
/// and α of the last one.
///
/// No demand is proven both met and missed: of any outcome, the two p-values add up to at least 1.
pub fn decide(evidence: &[Evidence]) -> Vec<(Decision, Evidence)> {
    let [met, missed] =
        [|e: &Evidence| e.p_met, |e: &Evidence| e.p_missed].map(|p| holm(&evidence.iter().map(p).collect::<Vec<_>>()));
    let decided = |(p_met, p_missed)| {
        let decision = match (p_met <= ALPHA, p_missed <= ALPHA) {
            (true, false) => Decision::Passed,
            (false, true) => Decision::Failed,
            _ => Decision::Inconclusive,
        };
        (decision, Evidence { p_met, p_missed })
    };
    met.into_iter().zip(missed).map(decided).collect()
}

/// P-values after Holm's step-down adjustment, in the same order (Scandinavian Journal of Statistics 6, 1979).
///
/// Claiming what has an adjusted p of at most α makes one or more false claims with a probability of at most α, whatever the
/// dependence between the p-values. A value that is not a number counts as 1.
fn holm(p_values: &[f64]) -> Vec<f64> {
    let p = |i: usize| p_values.get(i).copied().filter(|p| !p.is_nan()).unwrap_or(1.0);
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p(a).total_cmp(&p(b)));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (rank, &i) in order.iter().enumerate() {
        largest = largest.max(p(i) * (p_values.len() - rank) as f64).min(1.0);
        adjusted[i] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `statsmodels.stats.multitest.multipletests(p, method="holm")[1]` of statsmodels.
    #[test]
    fn adjusted_values_equal_statsmodels() {
        for (p, expected) in [
            (&[0.01, 0.04, 0.03, 0.005][..], &[0.03, 0.06, 0.06, 0.02][..]),
            (&[0.05, 0.05, 0.05], &[0.15, 0.15, 0.15]),
            (&[0.9, 0.0001, 0.02, 0.02, 0.6], &[1.0, 0.0005, 0.08, 0.08, 1.0]),
            (&[0.3], &[0.3]),
            (&[0.5, 0.6], &[1.0, 1.0]),
            (&[], &[]),
        ] {
            let found = holm(p);
            assert_eq!(found.len(), expected.len());
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15), "{p:?}: {found:?}");
        }
    }

    #[test]
    fn decisions_follow_from_the_adjusted_values() {
        let evidence = [
            Evidence { p_met: 0.001, p_missed: 1.0 },
            Evidence { p_met: 0.03, p_missed: 0.98 },
            Evidence { p_met: 0.4, p_missed: 0.7 },
            Evidence { p_met: 1.0, p_missed: 0.01 },
            Evidence::NONE,
            Evidence::MET,
        ];
        let found = decide(&evidence);
        let decisions: Vec<_> = found.iter().map(|(decision, _)| *decision).collect();
        use Decision::{Failed, Inconclusive, Passed};
        // 0.03 is the third smallest of six: four times it is too much. Of 0.01 six times it is.
        assert_eq!(decisions, [Passed, Inconclusive, Inconclusive, Inconclusive, Inconclusive, Passed]);
        assert!((found[1].1.p_met - 0.12).abs() < 1e-12 && (found[3].1.p_missed - 0.06).abs() < 1e-12, "{found:?}");
        assert_eq!(decide(&evidence[..2]).iter().map(|d| d.0).collect::<Vec<_>>(), [Passed, Passed]);
        assert_eq!(decide(&evidence[2..4]).iter().map(|d| d.0).collect::<Vec<_>>(), [Inconclusive, Failed]);
        assert!(decide(&[]).is_empty());
        let unknown = Evidence { p_met: f64::NAN, p_missed: f64::NAN };
        assert_eq!(decide(&[unknown])[0].0, Inconclusive);
    }

    #[test]
    fn what_is_not_a_number_proves_nothing() {
        assert_eq!(holm(&[f64::NAN, 0.01]), [1.0, 0.02]);
    }
}
