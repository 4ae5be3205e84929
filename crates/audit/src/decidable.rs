//! Which gates so many samples cannot decide, known before anything is measured.

use crate::gate::{Condition, Gate};
use crate::plan::Plan;
use crate::stats::{ALPHA, Counts, Decision, Demand, Discordant, Evidence, decide};

/// More samples than this are not looked for.
const MOST: u64 = 10_000_000;

/// A gate that a number of samples cannot decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecidable {
    /// Path of the gate: `gates[1].max_drop`.
    pub field: String,
    /// Which verdict it cannot have and how many samples could give it.
    pub reason: String,
}

impl Plan {
    /// The gates of a plan that makes sense which `samples` samples cannot decide in one way or the other, whatever they show.
    ///
    /// All checks of all gates are looked at together, as the verdict will be, each at its clearest outcome; for a drop that is, in favour, a variant
    /// that answers as its baseline on every sample, because more than that no variant should have to do.
    #[must_use]
    pub fn undecidable(&self, samples: u64) -> Vec<Undecidable> {
        let gates: Vec<(usize, &Gate, Demand, usize)> = (0..)
            .zip(&self.gates)
            .filter_map(|(i, gate)| self.demand(gate).map(|(demand, checks)| (i, gate, demand, checks)))
            .collect();
        let all: usize = gates.iter().map(|(.., checks)| checks).sum();
        let decisions = |evidence: fn(Demand, u64) -> Evidence| {
            let each =
                gates.iter().flat_map(|&(.., demand, checks)| std::iter::repeat_n(evidence(demand, samples), checks));
            decide(&each.collect::<Vec<_>>())
        };
        let (clearest, darkest) = (decisions(best), decisions(Demand::worst));
        let mut at = 0;
        let mut found = Vec::new();
        for (i, gate, demand, checks) in gates {
            let mine = at..at + checks;
            at += checks;
            let is = |of: &[(Decision, Evidence)], wanted| {
                of.get(mine.clone()).is_some_and(|mine| mine.iter().all(|(decision, _)| *decision == wanted))
            };
            let (pass, fail) = (is(&clearest, Decision::Passed), is(&darkest, Decision::Failed));
            let first = ALPHA / all as f64;
            let reason = match (pass, fail) {
                (true, true) => continue,
                (false, _) => cannot("pass", samples, fewest(|n| best(demand, n).p_met <= first)),
                (true, false) => cannot("fail", samples, fewest(|n| demand.worst(n).p_missed <= first)),
            };
            found.push(Undecidable { field: format!("gates[{i}].{}", gate.condition.name()), reason });
        }
        found
    }

    /// What a gate demands, and of how many numbers; `None` if it demands none.
    fn demand(&self, gate: &Gate) -> Option<(Demand, usize)> {
        let models = self.models.len();
        let threats = self.threats().filter(|title| gate.threat.as_ref().is_none_or(|threat| threat == title)).count();
        Some(match gate.condition {
            Condition::MinRobustAccuracy(least) => (Demand::AtLeast(least), models * threats),
            Condition::MinCleanAccuracy(least) => (Demand::AtLeast(least), models),
            Condition::MinCertified(least) => (Demand::AtLeast(least), models * self.certified_under(gate).len()),
            Condition::MaxDrop(most) => (Demand::DropAtMost(most), threats),
            Condition::MaxCleanDrop(most) => (Demand::DropAtMost(most), 1),
            Condition::MaxCorruptionError(most) => {
                (Demand::MeanAtMost { rates: self.corruption_rates(gate), most }, models)
            }
            // Decided by rounds of predictions, not by samples.
            Condition::MaxLatencyRatio(_) | Condition::ForbidFlags(_) => return None,
        })
    }
}

/// The clearest evidence in favour that is worth hoping for.
fn best(demand: Demand, of: u64) -> Evidence {
    match demand {
        Demand::DropAtMost(_) => demand.evidence(Counts::Pairs(Discordant { only_first: 0, only_second: 0 }), of),
        _ => demand.best(of),
    }
}

/// The fewest samples for which it holds, where it holds for all larger numbers.
fn fewest(holds: impl Fn(u64) -> bool) -> Option<u64> {
    let (mut low, mut high) = (0, 1);
    while !holds(high) {
        (low, high) = (high, high * 2);
        if high > MOST {
            return None;
        }
    }
    while low + 1 < high {
        let middle = low.midpoint(high);
        if holds(middle) { high = middle } else { low = middle }
    }
    Some(high)
}

fn cannot(verdict: &str, samples: u64, fewest: Option<u64>) -> String {
    match fewest {
        Some(fewest) => format!(
            "cannot {verdict} on {samples} samples, whatever they show, because they prove too little; it takes at least {fewest}, and more where the outcome is less clear"
        ),
        None => format!("cannot {verdict} on any number of samples; choose another threshold"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undecidable(gates: &str, samples: u64) -> Vec<String> {
        let plan = Plan::parse(&format!(
            "schema = 1\nmodels = [{{ name = \"a\" }}, {{ name = \"b\" }}]\ngates = [{gates}]\n\
             [[evaluations]]\nnorm = \"Linf\"\neps = \"0.1\"\nattacks = [{{ name = \"pgd\" }}]\n\
             [[evaluations]]\nnorm = \"L2\"\neps = \"1\"\nattacks = [{{ name = \"corruption\" }}]\n\
             [certification]\nthreats = [\"L2 1\"]"
        ));
        plan.unwrap().undecidable(samples).into_iter().map(|u| format!("{}: {}", u.field, u.reason)).collect()
    }

    #[test]
    fn the_fewest_samples_are_those_of_the_adjusted_level() {
        // Two models under two threats, all right: 0.5 to the power of n is at most 0.05 / 4 from 7 on.
        let gate = "{ min_robust_accuracy = 0.5 }";
        assert!(undecidable(gate, 7).is_empty());
        let found = undecidable(gate, 6);
        assert!(
            found.len() == 1 && found[0].starts_with("gates[0].min_robust_accuracy: cannot pass on 6 samples"),
            "{found:?}"
        );
        assert!(found[0].contains("at least 7,"), "{found:?}");
        // Under one threat only two claims are left.
        assert!(undecidable("{ min_robust_accuracy = 0.5, threat = \"L2 1\" }", 6).is_empty());
    }

    #[test]
    fn each_kind_of_gate_is_looked_at() {
        for (gate, samples, words) in [
            ("{ min_clean_accuracy = 0.9 }", 30, "cannot pass on 30 samples"),
            ("{ min_clean_accuracy = 1.0 }", 1_000_000, "cannot pass on any number of samples"),
            ("{ min_clean_accuracy = 0.0 }", 100, "cannot fail on any number of samples"),
            // Two models under one threat: 0.5 to the power of n is at most 0.05 / 2 from 6 on.
            ("{ min_certified = 0.5 }", 5, "gates[0].min_certified: cannot pass on 5 samples, whatever they show"),
            ("{ max_drop = 0.02 }", 100, "cannot pass on 100 samples"),
            // 0.98 to the power of n is 0.05 - 0.0001 at 148.4.
            ("{ max_clean_drop = 0.02 }", 100, "it takes at least 149,"),
            ("{ max_clean_drop = 0.0 }", 100, "cannot pass on any number"),
            ("{ max_corruption_error = 0.1 }", 20, "gates[0].max_corruption_error: cannot pass on 20 samples"),
        ] {
            let found = undecidable(gate, samples);
            assert!(found.len() == 1 && found[0].contains(words), "{words} not in {found:?}");
        }
        assert!(undecidable("{ min_certified = 0.5 }", 6).is_empty());
        assert!(undecidable("{ max_clean_drop = 0.02 }", 149).is_empty());
        assert!(undecidable("{ forbid_flags = [\"not-finite\"] }", 1).is_empty());
        assert!(undecidable("", 1).is_empty());
    }
}
