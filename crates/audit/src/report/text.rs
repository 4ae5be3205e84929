//! How numbers and names read, in every format for people. An [`Estimate`] is the only rate that can be written, so that no
//! rate appears without its denominator and its interval.

use std::fmt;

use assay_attack::Cost;
use assay_certify::Method;

use super::{ByMethod, Report, Seen, Verified};
use crate::event::{AttackFacts, ModelId, ThreatFacts, ThreatId};
use crate::gate::{Condition, Gate};
use crate::judge::{Check, Grounds, Observed, Verdict};
use crate::stats::{Difference, Estimate, POWER, Paired};

/// A rate: `87.3 % (873 of 1,000; 95 % CI 85.1 to 89.3 %)`.
impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}; {})", Percent(self.rate()), Fraction(self), Interval(self))
    }
}

/// `873 of 1,000`.
pub(super) struct Fraction<'a>(pub(super) &'a Estimate);

impl fmt::Display for Fraction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", Count(self.0.hits()), Count(self.0.of()))
    }
}

/// `95 % CI 85.1 to 89.3 %`.
pub(super) struct Interval<'a>(pub(super) &'a Estimate);

impl fmt::Display for Interval<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "95 % CI {:.1} to {}", self.0.low() * 100.0, Percent(self.0.high()))
    }
}

/// A proportion: `87.3 %`.
pub(super) struct Percent(pub(super) f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} %", self.0 * 100.0)
    }
}

/// A difference of two rates: `−2.1 points (95 % CI −4.0 to −0.3)`.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, low, high } = *self;
        write!(f, "{} points (95 % CI {} to {})", Signed(value), Signed(low), Signed(high))
    }
}

/// Hundredths with a sign: `+2.1`, `−0.3`, `0.0`.
struct Signed(f64);

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 * 1000.0).round();
        let sign = match tenths {
            t if t > 0.0 => "+",
            t if t < 0.0 => "−",
            _ => "",
        };
        write!(f, "{sign}{:.1}", tenths.abs() / 10.0)
    }
}

/// A p-value: `p = 0.012`, `p < 0.0001`.
struct PValue(f64);

impl fmt::Display for PValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            p if p < 0.0001 => f.write_str("p < 0.0001"),
            p if p < 0.01 => write!(f, "p = {p:.4}"),
            p if p < 0.1 => write!(f, "p = {p:.3}"),
            p => write!(f, "p = {p:.2}"),
        }
    }
}

impl Paired {
    /// Its p-value for people: `p = 0.012`, `p < 0.0001`.
    #[must_use]
    pub fn significance(&self) -> String {
        PValue(self.p_value).to_string()
    }

    /// Whether the samples show a difference: McNemar's p is below 0.05.
    #[must_use]
    pub fn is_shown(&self) -> bool {
        self.p_value < 0.05
    }

    /// What the test says: the word for a difference, or for none that could be shown.
    #[must_use]
    pub fn reading(&self) -> &'static str {
        match (self.is_shown(), self.difference.value < 0.0) {
            (true, true) => "worse",
            (true, false) => "better",
            (false, _) => "no difference shown",
        }
    }
}

/// A count with thousands separated: `1,000`.
pub(super) struct Count(pub(super) u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// `1,000 queries, 40,000 gradients`.
pub(super) struct Spent<'a>(pub(super) &'a Cost);

impl fmt::Display for Spent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} queries, {} gradients", Count(self.0.queries), Count(self.0.gradients))
    }
}

/// `0.3 s`, `12.3 s`, `4 min 10 s`, `2 h 5 min`.
pub(super) struct Time(pub(super) f64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.round() as u64;
        match whole {
            0..60 => write!(f, "{:.1} s", self.0),
            60..3600 => write!(f, "{} min {} s", whole / 60, whole % 60),
            _ => write!(f, "{} h {} min", whole / 3600, whole % 3600 / 60),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.samples {
            0 => f.write_str(&self.stage),
            samples => write!(f, "{}: {} of {} samples", self.stage, Count(samples), Count(self.of)),
        }
    }
}

/// `pgd (steps 40, restarts 1)`.
pub(super) struct Attack<'a>(pub(super) &'a AttackFacts);

impl fmt::Display for Attack<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)?;
        let parameters: Vec<_> = self.0.parameters.iter().map(|(name, value)| format!("{name} {value}")).collect();
        if parameters.is_empty() { Ok(()) } else { write!(f, " ({})", parameters.join(", ")) }
    }
}

impl ThreatFacts {
    /// What is done to a model under it, attack by attack: `pgd Linf 0.1`.
    pub(crate) fn stages(&self) -> Vec<String> {
        self.attack_titles().into_iter().map(|attack| format!("{attack} {}", self.title())).collect()
    }

    /// What is done to a model after its attacks, where samples are certified: `certify Linf 0.1`.
    pub(crate) fn certifying(&self) -> String {
        format!("certify {}", self.title())
    }

    /// Its attacks by name; several of one name with the parameters in which they differ.
    pub(super) fn attack_titles(&self) -> Vec<String> {
        let title = |attack: &AttackFacts| {
            let namesakes = || self.attacks.iter().filter(|other| other.name == attack.name);
            let differs =
                |parameter: &&(String, String)| namesakes().any(|other| !other.parameters.contains(parameter));
            let parameters = attack.parameters.iter().filter(differs).cloned().collect();
            Attack(&AttackFacts { name: attack.name.clone(), parameters }).to_string()
        };
        self.attacks.iter().map(title).collect()
    }
}

impl Verified {
    /// The bounds behind it, and what each proves: `ibp 3, crown 40`.
    #[must_use]
    pub fn bounds(&self) -> String {
        let each = |of: &ByMethod| format!("{} {}", of.method, Count(of.samples.len() as u64));
        self.methods.iter().map(each).collect::<Vec<_>>().join(", ")
    }

    /// What is not certified, and why: `12 bounds too loose, 0 failed`.
    #[must_use]
    pub fn rest(&self) -> String {
        format!("{} bounds too loose, {} failed", Count(self.unknown), Count(self.failures.len() as u64))
    }

    /// Says that there is a tighter bound, where those that were asked prove nothing.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self.methods.last()?.method {
            _ if self.vra.hits() > 0 => None,
            Method::Ibp => Some(
                "Intervals prove next to nothing of a model that was not trained for them: crown gives tighter bounds.",
            ),
            Method::CrownIbp => Some("Nothing is proved: crown gives tighter bounds on most models."),
            Method::Crown => Some("Nothing is proved: alpha-crown gives tighter bounds."),
            Method::AlphaCrown => None,
        }
    }
}

/// What a gate demands.
impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.condition {
            Condition::MinRobustAccuracy(least) => write!(f, "robust accuracy of at least {}", Percent(*least))?,
            Condition::MinCertified(least) => write!(f, "verified accuracy of at least {}", Percent(*least))?,
            Condition::MinCleanAccuracy(least) => write!(f, "clean accuracy of at least {}", Percent(*least))?,
            Condition::MaxDrop(most) => {
                write!(f, "robust accuracy at most {} points below the baseline", Points(*most))?;
            }
            Condition::MaxCleanDrop(most) => {
                write!(f, "clean accuracy at most {} points below the baseline", Points(*most))?;
            }
            Condition::MaxCorruptionError(most) => {
                write!(f, "mean error under corruptions of at most {}", Percent(*most))?;
            }
            Condition::MaxLatencyRatio(most) => {
                write!(f, "predictions that take at most {most} times as long as the baseline's")?;
            }
            Condition::ForbidFlags(kinds) => {
                let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
                write!(f, "no flag {}", names.join(", "))?;
            }
        }
        self.threat.as_ref().map_or(Ok(()), |threat| write!(f, ", under {threat}"))
    }
}

/// Hundredths without a sign: `5.0`.
struct Points(f64);

impl fmt::Display for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1}", self.0 * 100.0)
    }
}

/// What a gate saw, and why that decides it or does not: `fashion-robust, Linf 0.1: 53.2 % (…): at least 50.1 % is
/// proven, 50.0 % demanded, p = 0.045 at level 0.05`.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, ", self.model)?;
        match (&self.threat, &self.observed) {
            (Some(threat), _) => write!(f, "{threat}: ")?,
            (None, Observed::MeanError { .. }) => write!(f, "corruptions: ")?,
            (None, Observed::LatencyRatio { .. }) => write!(f, "latency: ")?,
            (None, Observed::Flag { kind, .. }) => write!(f, "{}: ", kind.name())?,
            (None, _) => write!(f, "clean: ")?,
        }
        match self.observed {
            Observed::Rate(estimate) => estimate.fmt(f)?,
            Observed::Difference(difference) => difference.fmt(f)?,
            Observed::MeanError { errors, evaluations, of } => {
                let mean = errors as f64 / (evaluations as f64 * of as f64);
                write!(
                    f,
                    "{} mean error in {} evaluations of {} samples",
                    Percent(mean),
                    Count(evaluations),
                    Count(of)
                )?;
            }
            Observed::LatencyRatio { ratio, rounds } => {
                write!(f, "{ratio:.2} times the baseline's, the median of {} rounds", Count(rounds))?;
            }
            Observed::Flag { stages, .. } if self.verdict == Verdict::Fail => {
                write!(f, "raised in {} {}", Count(stages), if stages == 1 { "stage" } else { "stages" })?;
            }
            Observed::Flag { .. } => write!(f, "not raised")?,
        }
        self.grounds.as_ref().map_or(Ok(()), |grounds| Why { check: self, grounds }.fmt(f))
    }
}

/// Why a check was decided as it was.
struct Why<'a> {
    check: &'a Check,
    grounds: &'a Grounds,
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Grounds { threshold, unmeasured, evidence, level, low, high, samples_needed } = *self.grounds;
        let drop = matches!(self.check.observed, Observed::Difference(_));
        let latency = matches!(self.check.observed, Observed::LatencyRatio { .. });
        let shown = |value: f64| match (drop, latency) {
            (true, _) => format!("{} points", Points(value)),
            (_, true) => format!("{value:.2}"),
            _ => Percent(value).to_string(),
        };
        let subject = if drop { "a drop of " } else { "" };
        let confidence = (1.0 - level) * 100.0;
        match (low, high) {
            (Some(low), Some(high)) if self.undecided() => {
                write!(f, "; {subject}{} to {} fits, {confidence:.1} % sure of either end", shown(low), shown(high))?;
            }
            (Some(low), _) => write!(f, "; {subject}at least {}, {confidence:.1} % sure", shown(low))?,
            (_, Some(high)) => write!(f, "; {subject}at most {}, {confidence:.1} % sure", shown(high))?,
            (None, None) => {}
        }
        write!(f, "; demanded {}", shown(threshold))?;
        match self.check.verdict {
            Verdict::Pass => write!(f, "; met, {}", PValue(evidence.p_met))?,
            Verdict::Fail => write!(f, "; missed, {}", PValue(evidence.p_missed))?,
            Verdict::Inconclusive | Verdict::Unreliable => {
                write!(f, "; neither met, {}, nor missed, {}", PValue(evidence.p_met), PValue(evidence.p_missed))?;
            }
        }
        match (self.check.verdict, samples_needed) {
            (Verdict::Unreliable, _) => {
                write!(
                    f,
                    "; {} samples could not be measured, and how they would have gone decides it",
                    Count(unmeasured)
                )
            }
            (Verdict::Inconclusive, Some(samples)) => {
                let probably = POWER * 100.0;
                write!(
                    f,
                    "; if this is the truth, {} samples decide it with {probably:.0} % probability",
                    Count(samples)
                )
            }
            (Verdict::Inconclusive, None) if matches!(self.check.observed, Observed::LatencyRatio { .. }) => {
                write!(f, "; too near the threshold for so many rounds to tell")
            }
            (Verdict::Inconclusive, None) => write!(f, "; too near the threshold for any number of samples to tell"),
            _ => Ok(()),
        }
    }
}

impl Why<'_> {
    fn undecided(&self) -> bool {
        matches!(self.check.verdict, Verdict::Inconclusive | Verdict::Unreliable)
    }
}

/// How a verdict is meant: what colours it, and whether it breaks a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// It is as demanded.
    Good,
    /// It is not.
    Bad,
    /// It could not be decided.
    Open,
}

/// How a verdict is meant, in every format.
pub(super) fn tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Pass => Tone::Good,
        Verdict::Fail => Tone::Bad,
        Verdict::Inconclusive | Verdict::Unreliable => Tone::Open,
    }
}

/// How lines about what was found on another model are to be read.
pub(super) const SHOWN: &str = "What was found on the other model is shown to this one where it is right without attack; the robust accuracy is that under all of it.";

/// How lines about certificates are to be read.
pub(super) const PROVED: &str = "Verified: correct, and proved that nothing within the threat changes the prediction, in binary32 with an allowance for rounding. The truth lies between the verified accuracy and the robust one.";

/// A verdict as the end of a sentence: `passed`, `failed`, `inconclusive` or `unreliable`.
pub(super) fn outcome(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "passed",
        Verdict::Fail => "failed",
        Verdict::Inconclusive => "inconclusive",
        Verdict::Unreliable => "unreliable",
    }
}

/// A number as short as it says the same: `0.0314`, `12`, `1.3e-5`.
pub(super) struct Short(pub(super) f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.abs() {
            0.0 => f.write_str("0"),
            x if x < 1e-3 => write!(f, "{:.1e}", self.0),
            x if x < 10.0 => write!(f, "{}", (self.0 * 1e4).round() / 1e4),
            _ => write!(f, "{}", (self.0 * 10.0).round() / 10.0),
        }
    }
}

impl Report {
    /// The verdict in one sentence, without a full stop.
    #[must_use]
    pub fn summary(&self) -> String {
        let such = self.gates.iter().filter(|gate| gate.verdict == self.verdict).count();
        match (self.verdict, self.gates.len()) {
            (Verdict::Pass, 0) => "No gates were set".to_owned(),
            (Verdict::Pass, 2) => "Both gates passed".to_owned(),
            (Verdict::Pass, all) if all > 2 => format!("All {all} gates passed"),
            (Verdict::Inconclusive, 1) => "The gate is inconclusive: the samples are too few".to_owned(),
            (Verdict::Inconclusive, all) => format!("{such} of {all} gates are inconclusive: the samples are too few"),
            (Verdict::Unreliable, 1) => "The gate is unreliable: too much could not be measured".to_owned(),
            (Verdict::Unreliable, all) => {
                format!("{such} of {all} gates are unreliable: too much could not be measured")
            }
            (verdict, 1) => format!("The gate {}", outcome(verdict)),
            (verdict, all) => format!("{such} of {all} gates {}", outcome(verdict)),
        }
    }

    /// What it cost: `cost: 1,000 queries, 40,000 gradients, 12.3 s`.
    #[must_use]
    pub fn spent(&self) -> String {
        let time = self.run.as_ref().map(|run| format!(", {}", Time(run.seconds)));
        format!("cost: {}{}", Spent(&self.cost), time.unwrap_or_default())
    }

    /// Title of a model; empty if there is no such model.
    #[must_use]
    pub fn model_title(&self, id: ModelId) -> &str {
        self.models.get(id.0 as usize).map_or("", |model| &model.title)
    }

    /// Titles of the two models that are compared: what comes first is the parent, or the model of the accepted report.
    #[must_use]
    pub fn compared(&self) -> Option<[String; 2]> {
        self.comparison.as_ref()?;
        match (&self.setup.baseline, self.models.as_slice()) {
            (Some(accepted), [model]) => Some([accepted.title(), model.title.clone()]),
            (_, [first, second]) => Some([first.title.clone(), second.title.clone()]),
            _ => None,
        }
    }

    /// Title of a threat; empty if there is no such threat.
    pub(super) fn threat_title(&self, id: ThreatId) -> String {
        self.setup.threats.get(id.0 as usize).map(|threat| threat.title()).unwrap_or_default()
    }

    /// Name of an attack.
    pub(super) fn attack_name(&self, threat: ThreatId, attack: u32) -> &str {
        let attacks = self.setup.threats.get(threat.0 as usize).map(|threat| threat.attacks.as_slice());
        attacks.and_then(|attacks| attacks.get(attack as usize)).map_or("", |attack| &attack.name)
    }

    /// Name of a class, or its number.
    pub(super) fn class_name(&self, class: u32) -> String {
        let names = &self.setup.data.class_names;
        names.get(class as usize).cloned().unwrap_or_else(|| format!("class {class}"))
    }

    /// Titles of the models: `fashion-robust and fashion-layer-pruned`.
    pub(super) fn subjects(&self) -> String {
        let titles: Vec<_> = self.models.iter().map(|model| model.title.as_str()).collect();
        titles.join(" and ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_numbers_keep_what_can_be_told_apart() {
        let cases =
            [(0.0, "0"), (0.031_372_5, "0.0314"), (1.0, "1"), (12.34, "12.3"), (1234.0, "1234"), (1.31e-5, "1.3e-5")];
        for (number, text) in cases {
            assert_eq!(Short(number).to_string(), text);
        }
    }
}
