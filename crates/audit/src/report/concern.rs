//! What somebody should look at: checks that did not pass, and flags. Formats for machines list them.

use assay_attack::FlagKind;

use super::text::{Tone, outcome, tone};
use super::{Raised, Report};
use crate::event::ModelId;
use crate::gate::GateResult;

/// How grave a concern is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gravity {
    /// A demand is not met.
    Error,
    /// A demand could not be decided, or a number is in doubt.
    Warning,
    /// Good to know.
    Note,
}

/// Something to look at.
#[derive(Debug)]
pub(super) struct Concern {
    /// The kind of gate or flag.
    pub(super) rule: String,
    pub(super) gravity: Gravity,
    /// The model; `None`: the audit as a whole.
    pub(super) model: Option<ModelId>,
    /// The threat, where it is about one.
    pub(super) threat: Option<String>,
    /// A few words.
    pub(super) title: String,
    /// The numbers, in sentences.
    pub(super) message: String,
}

impl Report {
    /// Everything to look at: gates in the plan's order, then flags.
    pub(super) fn concerns(&self) -> Vec<Concern> {
        let gates = self.gates.iter().flat_map(|gate| self.of_gate(gate));
        gates.chain(self.flags.iter().map(|raised| self.of_flag(raised))).collect()
    }

    fn of_gate(&self, result: &GateResult) -> Vec<Concern> {
        let concern = |tone, model, threat, title: String, what: &str| {
            let gravity = match tone {
                Tone::Good => return None,
                Tone::Bad => Gravity::Error,
                Tone::Open => Gravity::Warning,
            };
            let message = format!("{}: {what}", result.gate);
            Some(Concern { rule: result.gate.name().to_owned(), gravity, model, threat, title, message })
        };
        if result.checks.is_empty() {
            let title = format!("Gate without a decision: {}", result.gate);
            return concern(result.tone(), None, None, title, NOTHING).into_iter().collect();
        }
        let checks = result.checks.iter().filter_map(|check| {
            let model = self.models.iter().position(|model| model.title == check.model);
            let title = format!("Gate {}: {}", outcome(check.verdict()), result.gate);
            let model = model.map(|i| ModelId(i as u32));
            concern(tone(check.verdict()), model, check.threat.clone(), title, &check.to_string())
        });
        checks.collect()
    }

    fn of_flag(&self, raised: &Raised) -> Concern {
        let name = raised.kind.name();
        let seen: Vec<_> = raised.stages.iter().map(ToString::to_string).collect();
        let (cause, meaning, remedy) = (raised.kind.cause(), raised.kind.meaning(), raised.kind.remedy());
        let title = self.model_title(raised.model);
        Concern {
            rule: name.to_owned(),
            gravity: gravity(raised.kind),
            model: Some(raised.model),
            threat: None,
            title: format!("Flag {name}"),
            message: format!("{title}: {}. {cause} {meaning} {remedy}", seen.join("; ")),
        }
    }
}

/// What is said of a gate that looked at nothing.
pub(super) const NOTHING: &str = "nothing to compare";

/// A flag casts doubt on numbers, unless assay itself takes care of what it tells.
pub(super) fn gravity(kind: FlagKind) -> Gravity {
    match kind {
        FlagKind::BatchDependentOutput | FlagKind::TooFewClasses => Gravity::Note,
        _ => Gravity::Warning,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn what_passed_is_no_concern_and_what_looked_at_nothing_is_open() {
        let mut report = fixture::report();
        let (gates, flags): (Vec<_>, Vec<_>) =
            report.concerns().into_iter().partition(|concern| concern.rule.contains('_'));
        let failed = report.gates.iter().flat_map(|gate| &gate.checks).filter(|check| !check.passed).count();
        assert!(failed > 0);
        assert_eq!((gates.len(), flags.len()), (failed, report.flags.len()));
        assert!(gates.iter().all(|gate| gate.gravity == Gravity::Error && gate.model.is_some()));
        report.gates[0].checks.clear();
        report.gates[0].passed = false;
        let open = report.concerns().into_iter().find(|concern| concern.gravity == Gravity::Warning).unwrap();
        assert_eq!((open.rule.as_str(), open.model), ("min_robust_accuracy", None));
        assert!(open.message.ends_with(NOTHING), "{}", open.message);
    }
}
