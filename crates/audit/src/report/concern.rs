//! What somebody should look at: checks that did not pass, and flags. Formats for machines list them.

use assay_attack::FlagKind;

use super::text::{Tone, outcome, tone};
use super::{Raised, Report};
use crate::event::ModelId;
use crate::judge::GateResult;

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
            Some(Concern { rule: result.gate.condition.name().to_owned(), gravity, model, threat, title, message })
        };
        let checks = result.checks.iter().filter_map(|check| {
            let model = self.models.iter().position(|model| model.title == check.model);
            let title = format!("Gate {}: {}", outcome(check.verdict), result.gate);
            let model = model.map(|i| ModelId(i as u32));
            concern(tone(check.verdict), model, check.threat.clone(), title, &check.to_string())
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

/// A flag casts doubt on numbers, unless assay itself takes care of what it tells.
pub(super) fn gravity(kind: FlagKind) -> Gravity {
    match kind {
        FlagKind::BatchDependentOutput | FlagKind::TooFewClasses => Gravity::Note,
        FlagKind::CertificateViolated => Gravity::Error,
        _ => Gravity::Warning,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Verdict;
    use crate::report::fixture;

    #[test]
    fn what_passed_is_no_concern_and_what_is_open_is_a_warning() {
        let mut report = fixture::report();
        let count = |report: &Report, verdict| {
            report.gates.iter().flat_map(|gate| &gate.checks).filter(|check| check.verdict == verdict).count()
        };
        let [failed, open] = [Verdict::Fail, Verdict::Inconclusive].map(|verdict| count(&report, verdict));
        assert!(failed > 0 && open > 0);
        let (gates, flags): (Vec<_>, Vec<_>) =
            report.concerns().into_iter().partition(|concern| concern.rule.contains('_'));
        assert_eq!((gates.len(), flags.len()), (failed + open, report.flags.len()));
        let of = |gravity| gates.iter().filter(|gate| gate.gravity == gravity && gate.model.is_some()).count();
        assert_eq!((of(Gravity::Error), of(Gravity::Warning)), (failed, open));
        report.gates.iter_mut().flat_map(|gate| &mut gate.checks).for_each(|check| check.verdict = Verdict::Pass);
        assert!(report.concerns().iter().all(|concern| !concern.rule.contains('_')));
    }
}
