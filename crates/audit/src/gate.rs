//! Conditions on the outcome, and the one function that decides.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::{Comparison, ModelResult};
use crate::stats::{Difference, Estimate};

/// One condition. It is decided by the point estimate; reports show the interval beside it.
///
/// In plan files: `gates = [{ min_robust_accuracy = 0.5 }, { max_drop = 0.02 }]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Every model's robust accuracy under every threat is at least this, in `[0, 1]`.
    MinRobustAccuracy(f64),
    /// The second model's robust accuracy is at most this much below the first's under every threat, in `[0, 1]`.
    MaxDrop(f64),
    /// Every model's clean accuracy is at least this, in `[0, 1]`.
    MinCleanAccuracy(f64),
}

impl Gate {
    /// Name in plan files.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::MinRobustAccuracy(_) => "min_robust_accuracy",
            Self::MaxDrop(_) => "max_drop",
            Self::MinCleanAccuracy(_) => "min_clean_accuracy",
        }
    }

    /// Its threshold.
    #[must_use]
    pub fn threshold(&self) -> f64 {
        match *self {
            Self::MinRobustAccuracy(value) | Self::MaxDrop(value) | Self::MinCleanAccuracy(value) => value,
        }
    }
}

/// Outcome of all gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[must_use]
pub enum Verdict {
    /// All gates passed, or there are none.
    Pass,
    /// A gate failed.
    Fail,
}

/// Outcome of one gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GateResult {
    /// The gate.
    pub gate: Gate,
    /// Whether there was something to check and all of it held.
    pub passed: bool,
    /// What was checked.
    pub checks: Vec<Check>,
}

/// One number that a gate looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// Title of the model; of the second for a difference.
    pub model: String,
    /// Title of the threat; absent for clean accuracy.
    pub threat: Option<String>,
    /// The number.
    pub observed: Observed,
    /// Whether it satisfies the gate.
    pub passed: bool,
}

/// A number with its uncertainty.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Observed {
    /// A rate.
    Rate(Estimate),
    /// A difference of two rates, second less first.
    Difference(Difference),
}

/// Decides every gate. A gate that finds nothing to compare fails, and so does one whose threshold is not a number.
pub(crate) fn judge(
    gates: &[Gate],
    models: &[ModelResult],
    comparison: Option<&Comparison>,
) -> (Verdict, Vec<GateResult>) {
    let results: Vec<_> = gates.iter().map(|&gate| decide(gate, models, comparison)).collect();
    let verdict = if results.iter().all(|r| r.passed) { Verdict::Pass } else { Verdict::Fail };
    (verdict, results)
}

fn decide(gate: Gate, models: &[ModelResult], comparison: Option<&Comparison>) -> GateResult {
    let at_least = |model: &ModelResult, threat: Option<&str>, observed: Estimate, least: f64| Check {
        model: model.title.clone(),
        threat: threat.map(str::to_owned),
        observed: Observed::Rate(observed),
        passed: observed.rate() >= least,
    };
    let checks: Vec<Check> = match gate {
        Gate::MinCleanAccuracy(least) => models.iter().map(|m| at_least(m, None, m.clean, least)).collect(),
        Gate::MinRobustAccuracy(least) => models
            .iter()
            .flat_map(|m| m.threats.iter().map(move |t| at_least(m, Some(&t.title), t.robust, least)))
            .collect(),
        Gate::MaxDrop(most) => match (models, comparison) {
            ([_, second], Some(comparison)) => {
                let pairs = second.threats.iter().zip(&comparison.threats);
                pairs
                    .map(|(threat, paired)| Check {
                        model: second.title.clone(),
                        threat: Some(threat.title.clone()),
                        observed: Observed::Difference(paired.difference),
                        passed: -paired.difference.value <= most,
                    })
                    .collect()
            }
            _ => Vec::new(),
        },
    };
    GateResult { gate, passed: !checks.is_empty() && checks.iter().all(|c| c.passed), checks }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    fn passes(gate: Gate) -> bool {
        let report = fixture::report();
        let (verdict, results) = judge(&[gate], &report.models, report.comparison.as_ref());
        assert_eq!(verdict == Verdict::Pass, results.iter().all(|r| r.passed));
        verdict == Verdict::Pass
    }

    /// The fixture: clean 0.9 and 0.7, robust 0.6 and 0.3.
    #[test]
    fn thresholds_are_inclusive_and_hold_for_every_model() {
        assert!(passes(Gate::MinRobustAccuracy(0.3)) && !passes(Gate::MinRobustAccuracy(0.31)));
        assert!(passes(Gate::MinCleanAccuracy(0.7)) && !passes(Gate::MinCleanAccuracy(0.71)));
        assert!(passes(Gate::MaxDrop(0.3)) && !passes(Gate::MaxDrop(0.29)));
    }

    #[test]
    fn nothing_and_nan_never_pass() {
        for gate in [Gate::MinRobustAccuracy as fn(f64) -> Gate, Gate::MaxDrop, Gate::MinCleanAccuracy] {
            assert!(!passes(gate(f64::NAN)));
            let (verdict, results) = judge(&[gate(0.0)], &[], None);
            assert_eq!((verdict, results[0].passed, results[0].checks.len()), (Verdict::Fail, false, 0));
        }
        let report = fixture::report();
        assert_eq!(judge(&[Gate::MaxDrop(1.0)], &report.models[..1], None).0, Verdict::Fail);
        assert_eq!(judge(&[], &[], None).0, Verdict::Pass);
    }
}
