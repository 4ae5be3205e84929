//! What the gates make of the outcome, and the one function that decides.

use assay_attack::FlagKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::ModelId;
use crate::gate::{Condition, Gate};
use crate::plan::Plan;
use crate::report::{Comparison, ModelResult, Raised, ThreatResult, schema};
use crate::stats::{
    ALPHA, Counts, Decision, Demand, Difference, Discordant, Estimate, Evidence, Paired, decide, median,
};

/// Outcome of a check, of a gate, and of all gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[must_use]
pub enum Verdict {
    /// What was demanded is proven, or nothing was.
    Pass,
    /// The samples are too few to prove that the demand is met or that it is missed.
    Inconclusive,
    /// So many samples could not be measured that the decision depends on how they would have gone.
    Unreliable,
    /// The demand is proven missed.
    Fail,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pass, Self::Inconclusive, Self::Unreliable, Self::Fail];

    /// The verdict on several: a failure before all, then what cannot be relied on, then what is open.
    fn of(parts: impl Iterator<Item = Self>) -> Self {
        let rank = |verdict: &Self| match verdict {
            Self::Pass => 0,
            Self::Inconclusive => 1,
            Self::Unreliable => 2,
            Self::Fail => 3,
        };
        parts.max_by_key(rank).unwrap_or(Self::Pass)
    }

    /// The verdict of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.name() == name)
    }

    /// `pass`, `fail`, `inconclusive` or `unreliable`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Inconclusive => "inconclusive",
            Self::Unreliable => "unreliable",
            Self::Fail => "fail",
        }
    }
}

/// Outcome of one gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GateResult {
    /// The gate.
    pub gate: Gate,
    /// The verdict on its checks.
    pub verdict: Verdict,
    /// What was checked; at least one.
    pub checks: Vec<Check>,
}

/// One number that a gate looked at, and what was decided of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// Title of the model; of the second for a difference.
    pub model: String,
    /// Title of the threat; absent for what has none.
    pub threat: Option<String>,
    /// The number.
    pub observed: Observed,
    /// What was decided.
    pub verdict: Verdict,
    /// Why; absent for flags, which are raised or not.
    pub grounds: Option<Grounds>,
}

/// A number that a gate looks at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Observed {
    /// A rate.
    Rate(Estimate),
    /// A difference of two rates, second less first.
    Difference(Difference),
    /// The mean of the errors of several evaluations on the same samples.
    MeanError {
        /// Errors in all evaluations together.
        errors: u64,
        /// Number of evaluations.
        evaluations: u64,
        /// Number of samples.
        of: u64,
    },
    /// How many times as long predictions of one sample take as those of the baseline.
    LatencyRatio {
        /// Median over the rounds.
        ratio: f64,
        /// Rounds in which both models made one prediction.
        rounds: u64,
    },
    /// Whether a flag was raised.
    Flag {
        /// What was looked for.
        #[schemars(schema_with = "schema::flag_kind")]
        kind: FlagKind,
        /// Stages in which it was raised.
        stages: u64,
    },
}

/// Why a check was decided as it was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Grounds {
    /// What was demanded: the least rate, the largest error, or the largest drop.
    pub threshold: f64,
    /// Samples that could not be measured. They count against the gate where it would pass, and for it where it would fail.
    pub unmeasured: u64,
    /// Holm-adjusted p-values, to be compared with [`ALPHA`].
    #[serde(flatten)]
    pub evidence: Evidence,
    /// Level of the bounds: [`ALPHA`], or the share of it that the adjustment leaves to this check.
    pub level: f64,
    /// Lower bound of what is demanded, a rate, an error or a drop, at that level; absent where it decides nothing.
    pub low: Option<f64>,
    /// Upper bound.
    pub high: Option<f64>,
    /// Samples that would probably decide it if the truth is what was observed; absent where it is decided, or where the observed is too near the
    /// threshold.
    pub samples_needed: Option<u64>,
}

/// A demand on what was measured.
struct Claim {
    model: String,
    threat: Option<String>,
    observed: Observed,
    demand: Demand,
    /// With all that could not be measured going against the demand, and for it.
    worst: Counts,
    best: Counts,
    of: u64,
    unmeasured: u64,
    /// What the demand is on in truth, where `demand` is that half of them are at most as large: ratios, with the largest median.
    ratios: Option<(Vec<f64>, f64)>,
}

/// Decides every gate of the plan, and all of them. Fails where a gate has nothing to look at: an empty result never passes.
pub(crate) fn judge(
    plan: &Plan,
    models: &[ModelResult],
    comparison: Option<&Comparison>,
    flags: &[Raised],
    rounds: &[[f64; 2]],
) -> Result<(Verdict, Vec<GateResult>), &'static str> {
    let gates: Vec<Gate> = plan.gates.iter().cloned().chain(implied(plan)).collect();
    let claims = |gate| claims(gate, plan, models, comparison, rounds);
    let claims: Vec<Vec<Claim>> = gates.iter().map(claims).collect::<Option<_>>().ok_or(NOTHING)?;
    let all: Vec<&Claim> = claims.iter().flatten().collect();
    let mut decided = decided(&all).into_iter();
    let mut results = Vec::new();
    for (gate, claims) in gates.iter().zip(&claims) {
        let mut checks: Vec<Check> = claims
            .iter()
            .zip(&mut decided)
            .map(|(claim, (verdict, grounds))| Check {
                model: claim.model.clone(),
                threat: claim.threat.clone(),
                observed: claim.observed,
                verdict,
                grounds: Some(grounds),
            })
            .collect();
        if let Condition::ForbidFlags(kinds) = &gate.condition {
            checks.extend(forbidden(kinds, models, flags));
        }
        if checks.is_empty() {
            return Err(NOTHING);
        }
        results.push(GateResult { gate: gate.clone(), verdict: Verdict::of(checks.iter().map(|c| c.verdict)), checks });
    }
    Ok((Verdict::of(results.iter().map(|r| r.verdict)), results))
}

/// What every plan that certifies demands: an adversarial sample where there is none means that something here is wrong.
fn implied(plan: &Plan) -> Option<Gate> {
    let kind = FlagKind::CertificateViolated;
    let is_there = |gate: &Gate| matches!(&gate.condition, Condition::ForbidFlags(kinds) if kinds.contains(&kind));
    let missing = plan.certification.is_some() && !plan.gates.iter().any(is_there);
    missing.then(|| Condition::ForbidFlags(vec![kind]).into())
}

const NOTHING: &str = "a gate has nothing to look at";

/// What a gate demands of what was measured; `None` if that is not there.
fn claims(
    gate: &Gate,
    plan: &Plan,
    models: &[ModelResult],
    comparison: Option<&Comparison>,
    rounds: &[[f64; 2]],
) -> Option<Vec<Claim>> {
    let wanted = |threat: &ThreatResult| gate.threat.as_ref().is_none_or(|title| *title == threat.title);
    let robust = |model: &ModelResult, threat: &ThreatResult, least: f64| {
        rate(model, Some(threat.title.clone()), threat.robust, unmeasured(model, threat), least)
    };
    // What is compared: the variant with its parent, or the only model with that of an accepted report.
    let second = models.last();
    match &gate.condition {
        Condition::ForbidFlags(_) => Some(Vec::new()),
        &Condition::MinCleanAccuracy(least) => {
            Some(models.iter().map(|m| rate(m, None, m.clean, m.errors, least)).collect())
        }
        &Condition::MinRobustAccuracy(least) => {
            let of = |m| -> Vec<Claim> { under(m, wanted).map(|t| robust(m, t, least)).collect() };
            Some(models.iter().flat_map(of).collect())
        }
        &Condition::MinCertified(least) => {
            let of = |m| -> Vec<Claim> { under(m, wanted).filter_map(|t| certified(m, t, least)).collect() };
            Some(models.iter().flat_map(of).collect())
        }
        &Condition::MaxCleanDrop(most) => Some(vec![drop(second?, None, &comparison?.clean, most)]),
        &Condition::MaxDrop(most) => {
            let (second, pairs) = (second?, &comparison?.threats);
            let pairs = second.threats.iter().zip(pairs).filter(|(threat, _)| wanted(threat));
            Some(pairs.map(|(threat, pair)| drop(second, Some(threat.title.clone()), pair, most)).collect())
        }
        &Condition::MaxLatencyRatio(most) => Some(vec![latency(second?, rounds, most)?]),
        &Condition::MaxCorruptionError(most) => {
            let threats = plan.corruptions(gate);
            models.iter().map(|model| mean(model, &threats, gate.threat.clone(), most)).collect()
        }
    }
}

fn under<'a>(
    model: &'a ModelResult,
    wanted: impl Fn(&ThreatResult) -> bool + 'a,
) -> impl Iterator<Item = &'a ThreatResult> {
    model.threats.iter().filter(move |threat| wanted(threat))
}

/// Samples of which it is not known whether they are robust.
fn unmeasured(model: &ModelResult, threat: &ThreatResult) -> u64 {
    model.errors + threat.errors + threat.unstable
}

/// `None` where samples are not certified against the threat.
fn certified(model: &ModelResult, threat: &ThreatResult, least: f64) -> Option<Claim> {
    let verified = threat.verified.as_ref()?;
    let unmeasured = model.errors + verified.failures.len() as u64;
    Some(rate(model, Some(threat.title.clone()), verified.vra, unmeasured, least))
}

fn rate(model: &ModelResult, threat: Option<String>, observed: Estimate, unmeasured: u64, least: f64) -> Claim {
    Claim {
        model: model.title.clone(),
        threat,
        observed: Observed::Rate(observed),
        demand: Demand::AtLeast(least),
        worst: Counts::Hits(observed.hits()),
        best: Counts::Hits(observed.hits() + unmeasured),
        of: observed.of(),
        unmeasured,
        ratios: None,
    }
}

fn drop(model: &ModelResult, threat: Option<String>, paired: &Paired, most: f64) -> Claim {
    // Each sample that one of the two models could not be measured on moves the extremes apart by one.
    let extent = |d: Discordant| i128::from(d.only_first) - i128::from(d.only_second);
    Claim {
        model: model.title.clone(),
        threat,
        observed: Observed::Difference(paired.difference),
        demand: Demand::DropAtMost(most),
        worst: Counts::Pairs(paired.worst),
        best: Counts::Pairs(paired.best),
        of: paired.of(),
        unmeasured: u64::try_from(extent(paired.worst) - extent(paired.best)).unwrap_or(0),
        ratios: None,
    }
}

/// `None` if nothing was timed. The median is at most `most` where at least half of all ratios are, which is a demand on a rate: a sign test.
fn latency(model: &ModelResult, rounds: &[[f64; 2]], most: f64) -> Option<Claim> {
    let ratios: Vec<f64> = rounds.iter().map(|[first, second]| second / first).collect();
    let within = ratios.iter().filter(|&&ratio| ratio <= most).count() as u64;
    let of = ratios.len() as u64;
    let [_, ratio, _] = median(ratios.clone(), ALPHA)?;
    Some(Claim {
        model: model.title.clone(),
        threat: None,
        observed: Observed::LatencyRatio { ratio, rounds: of },
        demand: Demand::AtLeast(0.5),
        worst: Counts::Hits(within),
        best: Counts::Hits(within),
        of,
        unmeasured: 0,
        ratios: Some((ratios, most)),
    })
}

/// `None` if there are no such evaluations.
fn mean(model: &ModelResult, threats: &[usize], threat: Option<String>, most: f64) -> Option<Claim> {
    let threats: Vec<&ThreatResult> = threats.iter().map(|&i| model.threats.get(i)).collect::<Option<_>>()?;
    let of = model.clean.of();
    let rates: u64 = threats.iter().map(|threat| threat.attacks.len() as u64).sum();
    // Each attack of such a threat is the only one, or sees all samples.
    let errors: u64 = threats.iter().flat_map(|threat| &threat.attacks).map(|attack| of - attack.robust.hits()).sum();
    let unmeasured: u64 = threats.iter().map(|threat| unmeasured(model, threat) * threat.attacks.len() as u64).sum();
    (rates > 0).then(|| Claim {
        model: model.title.clone(),
        threat,
        observed: Observed::MeanError { errors, evaluations: rates, of },
        demand: Demand::MeanAtMost { rates, most },
        worst: Counts::Hits(errors),
        best: Counts::Hits(errors.saturating_sub(unmeasured)),
        of,
        unmeasured,
        ratios: None,
    })
}

/// One check for each model and kind.
fn forbidden(kinds: &[FlagKind], models: &[ModelResult], flags: &[Raised]) -> Vec<Check> {
    let check = |(id, model): (ModelId, &ModelResult), kind: FlagKind| {
        let raised = flags.iter().find(|raised| raised.model == id && raised.kind == kind);
        Check {
            model: model.title.clone(),
            threat: None,
            observed: Observed::Flag { kind, stages: raised.map_or(0, |raised| raised.stages.len() as u64) },
            verdict: if raised.is_some() { Verdict::Fail } else { Verdict::Pass },
            grounds: None,
        }
    };
    let models = || (0..).map(ModelId).zip(models);
    models().flat_map(|model| kinds.iter().map(move |&kind| check(model, kind))).collect()
}

/// Decides all claims of an audit together, because p-values are adjusted for all of them.
fn decided(claims: &[&Claim]) -> Vec<(Verdict, Grounds)> {
    let worst: Vec<Evidence> = claims.iter().map(|claim| claim.demand.evidence(claim.worst, claim.of)).collect();
    let best = |(claim, &worst): (&&Claim, &Evidence)| {
        if claim.best == claim.worst { worst } else { claim.demand.evidence(claim.best, claim.of) }
    };
    let best: Vec<Evidence> = claims.iter().zip(&worst).map(best).collect();
    // What could not be measured counts against every claim, that the demand is met and that it is missed; and once for every claim.
    let between = |met: &[Evidence], missed: &[Evidence]| -> Vec<Evidence> {
        met.iter().zip(missed).map(|(met, missed)| Evidence { p_met: met.p_met, p_missed: missed.p_missed }).collect()
    };
    let (certain, possible) = (between(&worst, &best), between(&best, &worst));
    let each = claims.iter().zip(certain.iter().zip(decide(&certain)).zip(decide(&possible)));
    let first = ALPHA / claims.len().max(1) as f64;
    each.map(|(claim, ((raw, (decision, evidence)), (_, possible)))| {
        // Holm leaves this share of the level to a p-value that it multiplies so.
        let share = |raw: f64, adjusted: f64| if raw > 0.0 { ALPHA * raw / adjusted } else { first };
        let (verdict, level) = match decision {
            Decision::Passed => (Verdict::Pass, share(raw.p_met, evidence.p_met)),
            Decision::Failed => (Verdict::Fail, share(raw.p_missed, evidence.p_missed)),
            Decision::Inconclusive if possible.p_met.min(possible.p_missed) <= ALPHA => (Verdict::Unreliable, first),
            Decision::Inconclusive => (Verdict::Inconclusive, first),
        };
        (verdict, claim.grounds(verdict, evidence, level))
    })
    .collect()
}

/// Bounds of the median, which decide as the sign test does: as many ratios are beyond a bound as its level allows.
fn latency_grounds(ratios: &[f64], threshold: f64, verdict: Verdict, evidence: Evidence, level: f64) -> Grounds {
    let bounds = median(ratios.to_vec(), level);
    let (low, high) = (bounds.map(|[low, ..]| low), bounds.map(|[.., high]| high));
    let (low, high) = match verdict {
        Verdict::Pass => (None, high),
        Verdict::Fail => (low, None),
        Verdict::Inconclusive | Verdict::Unreliable => (low, high),
    };
    Grounds { threshold, unmeasured: 0, evidence, level, low, high, samples_needed: None }
}

impl Claim {
    fn grounds(&self, verdict: Verdict, evidence: Evidence, level: f64) -> Grounds {
        if let Some((ratios, most)) = &self.ratios {
            return latency_grounds(ratios, *most, verdict, evidence, level);
        }
        let met = || self.demand.bound_if_met(self.worst, self.of, level);
        let missed = || self.demand.bound_if_missed(self.best, self.of, level);
        let (met, missed) = match verdict {
            Verdict::Pass => (met(), None),
            Verdict::Fail => (None, missed()),
            Verdict::Inconclusive | Verdict::Unreliable => (met(), missed()),
        };
        let (low, high) = if matches!(self.demand, Demand::AtLeast(_)) { (met, missed) } else { (missed, met) };
        let samples_needed = if verdict == Verdict::Inconclusive { self.samples_needed(level) } else { None };
        let threshold = self.demand.threshold();
        Grounds { threshold, unmeasured: self.unmeasured, evidence, level, low, high, samples_needed }
    }

    /// Samples that would probably decide it if the truth is what was observed; more than there were.
    fn samples_needed(&self, level: f64) -> Option<u64> {
        let of = self.of as f64;
        let (truth, discordant) = match (self.worst, self.demand) {
            (Counts::Hits(hits), Demand::MeanAtMost { rates, .. }) => (hits as f64 / (of * rates as f64), 0.0),
            (Counts::Hits(hits), _) => (hits as f64 / of, 0.0),
            (Counts::Pairs(Discordant { only_first: lost, only_second: gained }), _) => {
                ((lost as f64 - gained as f64) / of, (lost + gained) as f64 / of)
            }
        };
        self.demand.samples_needed(truth, discordant, level).map(|needed| needed.max(self.of + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_attack::Cost;

    use crate::report::{AttackResult, Seen};

    const PLAN: &str = r#"
schema = 1
models = [{ name = "a" }, { name = "b" }]
gates = [GATES]
[[evaluations]]
norm = "Linf"
eps = "0.1"
attacks = [{ name = "corruption" }]
[[evaluations]]
norm = "L2"
eps = "1"
attacks = [{ name = "corruption", parameters = { severity = 5 } }]
"#;

    fn plan(gates: &str) -> Plan {
        Plan::parse(&PLAN.replace("GATES", gates)).unwrap()
    }

    fn rate(hits: u64) -> Estimate {
        Estimate::new(hits, 1000).unwrap()
    }

    /// Of 1,000 samples, `clean` right and `robust` right under each threat, `errors` and `unstable` of them under each not measured.
    fn model(title: &str, clean: u64, robust: [u64; 2], errors: u64, unstable: u64) -> ModelResult {
        let threat = |(title, robust): (&str, u64)| ThreatResult {
            title: title.into(),
            robust: rate(robust),
            verified: None,
            stability: rate(robust),
            success: None,
            unstable,
            errors,
            attacks: vec![AttackResult {
                name: "corruption".into(),
                success: None,
                robust: rate(robust),
                cost: Cost::default(),
            }],
            transfer: None,
            outcomes: Vec::new(),
        };
        ModelResult {
            title: title.into(),
            clean: rate(clean),
            errors: 0,
            classes: Vec::new(),
            threats: ["Linf 0.1", "L2 1"].into_iter().zip(robust).map(threat).collect(),
            cost: Cost::default(),
            predictions: Vec::new(),
        }
    }

    /// Pairs in which the second model loses `lost` and gains `gained`, and could not be measured on `unknown` that the first gets right.
    fn paired(lost: usize, gained: usize, unknown: usize) -> Paired {
        let part = |first, second, times| std::iter::repeat_n((first, second), times);
        let pairs = part(Some(true), Some(false), lost)
            .chain(part(Some(false), Some(true), gained))
            .chain(part(Some(true), None, unknown))
            .chain(part(Some(true), Some(true), 1000 - lost - gained - unknown));
        let (first, second): (Vec<_>, Vec<_>) = pairs.unzip();
        Paired::new(&first, &second).unwrap()
    }

    fn verdict(gates: &str, models: &[ModelResult], pairs: Paired, flags: &[Raised]) -> (Verdict, Vec<GateResult>) {
        let comparison = Comparison { clean: pairs, threats: vec![pairs; 2] };
        judge(&plan(gates), models, Some(&comparison), flags, &[]).unwrap()
    }

    fn of(gate: &str, clean: u64, robust: u64, unmeasured: u64, pairs: Paired) -> Verdict {
        let models = ["a", "b"].map(|title| model(title, clean, [robust; 2], unmeasured, 0));
        verdict(gate, &models, pairs, &[]).0
    }

    #[test]
    fn each_kind_of_gate_passes_fails_and_is_left_open_by_its_bounds() {
        let none = paired(0, 0, 0);
        use Verdict::{Fail, Inconclusive, Pass};
        for (clean, wanted) in [(850, Pass), (801, Inconclusive), (799, Inconclusive), (750, Fail)] {
            assert_eq!(of("{ min_clean_accuracy = 0.8 }", clean, 500, 0, none), wanted, "{clean}");
        }
        for (robust, wanted) in [(550, Pass), (510, Inconclusive), (490, Inconclusive), (450, Fail)] {
            assert_eq!(of("{ min_robust_accuracy = 0.5 }", 900, robust, 0, none), wanted, "{robust}");
            // As an error of the mean, by a bound that is coarser.
            let error = if wanted == Pass {
                600
            } else if wanted == Fail {
                400
            } else {
                robust
            };
            assert_eq!(of("{ max_corruption_error = 0.5 }", 900, error, 0, none), wanted, "{robust}");
        }
        for (lost, gained, wanted) in [(20, 20, Pass), (60, 20, Inconclusive), (120, 20, Fail)] {
            for gate in ["{ max_drop = 0.05 }", "{ max_clean_drop = 0.05 }"] {
                assert_eq!(of(gate, 900, 500, 0, paired(lost, gained, 0)), wanted, "{gate}: {lost}, {gained}");
            }
        }
    }

    #[test]
    fn a_point_on_the_right_side_is_not_enough() {
        let models = [model("a", 900, [510, 700], 0, 0)];
        let (verdict, results) = judge(&plan_of_one("{ min_robust_accuracy = 0.5 }"), &models, None, &[], &[]).unwrap();
        assert_eq!(verdict, Verdict::Inconclusive);
        let [open, passed] = results[0].checks.as_slice() else { panic!("two checks") };
        assert_eq!((open.verdict, passed.verdict), (Verdict::Inconclusive, Verdict::Pass));
        let grounds = open.grounds.unwrap();
        assert!(grounds.low.unwrap() < 0.5 && grounds.high.unwrap() > 0.5, "{grounds:?}");
        // Of `power` for 0.51 against 0.5 at half the level, as two numbers are looked at.
        assert_eq!(grounds.samples_needed, Demand::AtLeast(0.5).samples_needed(0.51, 0.0, ALPHA / 2.0));
        let grounds = passed.grounds.unwrap();
        assert!(
            grounds.low.unwrap() > 0.6 && grounds.high.is_none() && grounds.samples_needed.is_none(),
            "{grounds:?}"
        );
        assert_eq!((grounds.level, grounds.threshold), (ALPHA / 2.0, 0.5));
    }

    fn plan_of_one(gates: &str) -> Plan {
        Plan::parse(&PLAN.replace("GATES", gates).replace(", { name = \"b\" }", "")).unwrap()
    }

    #[test]
    fn a_threat_restricts_what_is_looked_at() {
        let models = ["a", "b"].map(|title| model(title, 900, [300, 700], 0, 0));
        let gate = |threat: &str| format!("{{ min_robust_accuracy = 0.5, threat = \"{threat}\" }}");
        let (_, results) = verdict(&gate("L2 1"), &models, paired(0, 0, 0), &[]);
        assert_eq!((results[0].verdict, results[0].checks.len()), (Verdict::Pass, 2));
        assert!(results[0].checks.iter().all(|check| check.threat.as_deref() == Some("L2 1")));
        assert_eq!(verdict(&gate("Linf 0.1"), &models, paired(0, 0, 0), &[]).0, Verdict::Fail);
        let (_, results) = verdict("{ max_drop = 0.1, threat = \"L2 1\" }", &models, paired(0, 0, 0), &[]);
        assert_eq!(results[0].checks.len(), 1);
        let error = "{ max_corruption_error = 0.5, threat = \"L2 1\" }";
        let (_, results) = verdict(error, &models, paired(0, 0, 0), &[]);
        assert_eq!(results[0].checks[0].observed, Observed::MeanError { errors: 300, evaluations: 1, of: 1000 });
    }

    #[test]
    fn what_could_not_be_measured_never_decides() {
        use Verdict::{Fail, Inconclusive, Pass, Unreliable};
        // Robust in 480 at least and in 560 at most: neither end may decide for all.
        assert_eq!(of("{ min_robust_accuracy = 0.5 }", 900, 480, 80, paired(0, 0, 0)), Unreliable);
        // It would fail if all were broken.
        assert_eq!(of("{ min_robust_accuracy = 0.5 }", 900, 440, 60, paired(0, 0, 0)), Unreliable);
        // Few are no matter.
        assert_eq!(of("{ min_robust_accuracy = 0.5 }", 900, 560, 80, paired(0, 0, 0)), Pass);
        assert_eq!(of("{ min_robust_accuracy = 0.5 }", 900, 400, 40, paired(0, 0, 0)), Fail);
        assert_eq!(of("{ min_robust_accuracy = 0.5 }", 900, 500, 2, paired(0, 0, 0)), Inconclusive);
        assert_eq!(of("{ max_corruption_error = 0.5 }", 900, 480, 200, paired(0, 0, 0)), Unreliable);
        // A drop of 2 points, or of 8.
        assert_eq!(of("{ max_drop = 0.05 }", 900, 500, 0, paired(30, 10, 60)), Unreliable);
        assert_eq!(of("{ max_drop = 0.05 }", 900, 500, 0, paired(10, 10, 5)), Pass);
        let models = ["a", "b"].map(|title| model(title, 900, [480; 2], 40, 40));
        let (_, results) = verdict("{ min_robust_accuracy = 0.5 }", &models, paired(0, 0, 0), &[]);
        assert!(results[0].checks.iter().all(|check| check.grounds.unwrap().unmeasured == 80));
    }

    #[test]
    fn a_forbidden_flag_fails_and_comes_before_what_is_open() {
        let seen = Seen { stage: "pgd Linf 0.1".into(), samples: 3, of: 1000 };
        let finding = |kind| Raised { model: ModelId(1), kind, detail: String::new(), stages: vec![seen.clone()] };
        let models = ["a", "b"].map(|title| model(title, 900, [500; 2], 0, 0));
        let gates = "{ forbid_flags = [\"zero-gradient\", \"unstable-predictions\"] }, { min_robust_accuracy = 0.5 }";
        let found = |kind| verdict(gates, &models, paired(0, 0, 0), &[finding(kind)]);
        let (verdict, results) = found(FlagKind::ZeroGradient);
        assert_eq!(
            (verdict, results[0].verdict, results[1].verdict),
            (Verdict::Fail, Verdict::Fail, Verdict::Inconclusive)
        );
        let verdicts: Vec<_> = results[0].checks.iter().map(|check| check.verdict).collect();
        assert_eq!(verdicts, [Verdict::Pass, Verdict::Pass, Verdict::Fail, Verdict::Pass]);
        assert_eq!(results[0].checks[2].observed, Observed::Flag { kind: FlagKind::ZeroGradient, stages: 1 });
        assert_eq!(found(FlagKind::NotFinite).0, Verdict::Inconclusive);
    }

    #[test]
    fn the_worst_part_is_the_verdict() {
        use Verdict::{Fail, Inconclusive, Pass, Unreliable};
        let order = Verdict::ALL;
        assert_eq!(order, [Pass, Inconclusive, Unreliable, Fail]);
        for (i, &a) in order.iter().enumerate() {
            for (j, &b) in order.iter().enumerate() {
                assert_eq!(Verdict::of([a, b].into_iter()), order[i.max(j)]);
            }
        }
        assert_eq!(Verdict::of(std::iter::empty()), Pass);
    }

    #[test]
    fn more_gates_ask_for_clearer_numbers() {
        let models = [model("a", 900, [527, 527], 0, 0), model("b", 900, [527, 527], 0, 0)];
        // 527 of 1,000 have p = 0.047 of a rate below a half: enough alone, too much among four.
        let alone =
            judge(&plan_of_one("{ min_robust_accuracy = 0.5, threat = \"L2 1\" }"), &models[..1], None, &[], &[])
                .unwrap();
        assert_eq!(alone.0, Verdict::Pass);
        assert_eq!(verdict("{ min_robust_accuracy = 0.5 }", &models, paired(0, 0, 0), &[]).0, Verdict::Inconclusive);
    }

    #[test]
    fn nothing_and_nan_never_pass() {
        let models = ["a", "b"].map(|title| model(title, 1000, [1000; 2], 0, 0));
        let comparison = Comparison { clean: paired(0, 0, 0), threats: vec![paired(0, 0, 0); 2] };
        let conditions = [
            Condition::MinRobustAccuracy as fn(f64) -> Condition,
            Condition::MinCleanAccuracy,
            Condition::MaxDrop,
            Condition::MaxCleanDrop,
            Condition::MaxCorruptionError,
        ];
        for condition in conditions {
            let mut plan = plan("");
            plan.gates = vec![condition(f64::NAN).into()];
            let (verdict, results) = judge(&plan, &models, Some(&comparison), &[], &[]).unwrap();
            assert_eq!((verdict, results[0].verdict), (Verdict::Inconclusive, Verdict::Inconclusive));
            plan.gates = vec![condition(0.0).into()];
            assert_eq!(judge(&plan, &[], None, &[], &[]), Err(NOTHING));
        }
        let mut plan = plan("");
        plan.gates = vec![Condition::MaxDrop(1.0).into()];
        assert_eq!(judge(&plan, &models[..1], None, &[], &[]), Err(NOTHING));
        plan.gates = vec![Gate { threat: Some("L7 1".into()), ..Condition::MinRobustAccuracy(0.0).into() }];
        assert_eq!(judge(&plan, &models, Some(&comparison), &[], &[]), Err(NOTHING));
        plan.gates = Vec::new();
        assert_eq!(judge(&plan, &models, None, &[], &[]), Ok((Verdict::Pass, Vec::new())));
    }

    #[test]
    fn the_median_ratio_of_times_is_decided_as_its_bounds_say() {
        let models = [model("a", 900, [800, 800], 0, 0), model("b", 900, [800, 800], 0, 0)];
        let plan = |most: f64| plan(&format!("{{ max_latency_ratio = {most} }}"));
        // Twenty rounds with ratios of 1.01 to 1.20: at 5 % the sixth and the fifteenth bound the median.
        let rounds: Vec<[f64; 2]> = (1..=20).map(|i| [2.0, 2.0 + f64::from(i) / 50.0]).collect();
        let decided = |most| {
            let (verdict, results) = judge(&plan(most), &models, None, &[], &rounds).unwrap();
            let check = results[0].checks[0].clone();
            let Observed::LatencyRatio { ratio, rounds } = check.observed else { panic!("{check:?}") };
            assert!(rounds == 20 && (ratio - 1.105).abs() < 1e-9 && check.model == "b", "{check:?}");
            let Grounds { low, high, threshold, .. } = check.grounds.unwrap();
            assert!((threshold - most).abs() < 1e-12);
            (verdict, low.map(|low| (low * 100.0).round()), high.map(|high| (high * 100.0).round()))
        };
        assert_eq!(decided(1.149), (Verdict::Inconclusive, Some(106.0), Some(115.0)));
        assert_eq!(decided(1.151), (Verdict::Pass, None, Some(115.0)));
        assert_eq!(decided(1.061), (Verdict::Inconclusive, Some(106.0), Some(115.0)));
        assert_eq!(decided(1.059), (Verdict::Fail, Some(106.0), None));
        assert_eq!(judge(&plan(1.0), &models, None, &[], &[]), Err(NOTHING));
        assert_eq!(judge(&plan(1.0), &models, None, &[], &[[0.0, 0.0]; 20]), Err(NOTHING));
    }
}
