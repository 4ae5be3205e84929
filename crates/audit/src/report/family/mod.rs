//! A model and its variants side by side: what each gained, and what it costs.

mod markdown;

use serde::Serialize;

use super::{ModelResult, Report, ThreatResult, html};
use crate::judge::Verdict;
use crate::stats::{Estimate, Paired};

/// Version of the JSON of families; it changes when a field changes its meaning or goes.
pub const FAMILY_SCHEMA: &str = "assay.family/1";

/// A model and its variants, measured on the same samples under the same threats.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Family {
    /// [`FAMILY_SCHEMA`].
    pub schema: String,
    /// What the data are called.
    pub data: String,
    /// How many samples were measured.
    pub samples: u64,
    /// Titles of the threats, in order.
    pub threats: Vec<String>,
    /// The model, then its variants.
    pub members: Vec<Member>,
}

/// One of the models.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Member {
    /// Name in the repository.
    pub name: String,
    /// Version.
    pub version: String,
    /// Hexadecimal SHA-256 of its file.
    pub digest: String,
    /// What it is: `dense`, `filter-pruned`, ...; empty if unknown.
    pub kind: String,
    /// What it costs.
    pub costs: Costs,
    /// Samples classified correctly without attack.
    pub clean: Estimate,
    /// The same beside the first member; `None` of that one itself.
    pub clean_difference: Option<Paired>,
    /// One per threat.
    pub threats: Vec<Withstood>,
    /// Names of the flags that were raised: its robust accuracies may say less than they seem to.
    pub flags: Vec<String>,
}

/// What a model costs whoever hosts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Costs {
    /// Multiply–accumulates of one sample.
    pub macs: u64,
    /// Elements of all weights.
    pub parameters: u64,
    /// Size of its file, with the files of its weights.
    pub bytes: u64,
    /// Time of a prediction of one sample as the client sees it: of the first member the median, of the others that times their ratio.
    pub milliseconds: f64,
    /// The median of its time divided by that of the first member, measured in turn.
    pub latency_ratio: f64,
    /// Bounds of that median, each one-sided at the level of a gate on it.
    pub latency_bounds: [f64; 2],
}

/// What a model withstood.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Withstood {
    /// Samples correct without attack and under every attack.
    pub robust: Estimate,
    /// The same beside the first member; `None` of that one itself.
    pub difference: Option<Paired>,
    /// Samples correct without attack and certified; `None` where its audit certifies nothing under this threat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<Estimate>,
    /// Weighted robust accuracy with equal weights: the mean of clean and robust accuracy.
    pub wra: f64,
    /// The harmonic mean of clean and robust accuracy; 0 where both are.
    pub nrr: f64,
    /// Whether no other member is both as robust and as fast, and better in one of them.
    pub on_front: bool,
}

/// Reports that are not those of a model and its variants.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reports are those of no family: {0}")]
pub struct NoFamily(String);

impl Family {
    /// A family of reports on one model each: the first that of the parent, the others with it as their [baseline](crate::Setup::baseline).
    ///
    /// # Errors
    /// A report is on several models, or not beside the parent.
    pub fn of(reports: &[(Report, Costs)]) -> Result<Self, NoFamily> {
        let [(first, _), ..] = reports else { return Err(NoFamily("there are no models".to_owned())) };
        let parent = first.setup.models.first().map(|facts| &facts.digest);
        let mut members = Vec::new();
        for (i, (report, costs)) in reports.iter().enumerate() {
            let ([facts], [model]) = (report.setup.models.as_slice(), report.models.as_slice()) else {
                return Err(NoFamily(format!("one report is on {}", report.subjects())));
            };
            let of = report.setup.baseline.as_ref().map(|accepted| &accepted.model.digest);
            if i > 0 && of != parent {
                return Err(NoFamily(format!("{} was not compared with {}", facts.name, first.subjects())));
            }
            members.push(Member {
                name: facts.name.clone(),
                version: facts.version.clone(),
                digest: facts.digest.clone(),
                kind: facts.kind.clone(),
                costs: *costs,
                clean: model.clean,
                clean_difference: report.comparison.as_ref().map(|comparison| comparison.clean),
                threats: model
                    .threats
                    .iter()
                    .enumerate()
                    .map(|(i, threat)| withstood(report, model, i, threat))
                    .collect(),
                flags: report.flags.iter().map(|raised| raised.kind.name().to_owned()).collect(),
            });
        }
        let mut family = Self {
            schema: FAMILY_SCHEMA.to_owned(),
            data: first.setup.data.name.clone(),
            samples: first.setup.data.samples,
            threats: first.setup.threats.iter().map(|facts| facts.title()).collect(),
            members,
        };
        family.find_fronts();
        Ok(family)
    }

    /// What a member is called: the name, with the version where there are several of it.
    #[must_use]
    pub fn title(&self, member: &Member) -> String {
        let same = self.members.iter().filter(|other| other.name == member.name).count();
        if same > 1 { format!("{}@{}", member.name, member.version) } else { member.name.clone() }
    }

    /// Whether samples of a member are certified under a threat.
    #[must_use]
    pub fn certifies(&self, threat: usize) -> bool {
        let verified = |member: &Member| member.threats.get(threat).and_then(|withstood| withstood.verified);
        self.members.iter().any(|member| verified(member).is_some())
    }

    /// What a gate on the latency of the variants makes of each: it is at most `most` times that of the first member.
    #[must_use]
    pub fn latency_verdicts(&self, most: f64) -> Vec<(&Member, Verdict)> {
        let verdict = |member: &Member| match member.costs.latency_bounds {
            [_, high] if high <= most => Verdict::Pass,
            [low, _] if low > most => Verdict::Fail,
            _ => Verdict::Inconclusive,
        };
        self.members.iter().skip(1).map(|member| (member, verdict(member))).collect()
    }

    /// The family as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        // Numbers, texts and lists: nothing that JSON could not hold.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// The family as Markdown: one table.
    #[must_use]
    pub fn markdown(&self) -> String {
        markdown::text(self)
    }

    /// The family as one self-contained HTML page, with a plot of robust accuracy over latency for each threat.
    #[must_use]
    pub fn page(&self) -> String {
        html::family(self)
    }

    /// Marks, under each threat, the members that no other one beats in robust accuracy and latency.
    fn find_fronts(&mut self) {
        for threat in 0..self.threats.len() {
            let at = |member: &Member| {
                let robust = member.threats.get(threat).map_or(0, |withstood| withstood.robust.hits());
                (robust, member.costs.milliseconds)
            };
            let all: Vec<(u64, f64)> = self.members.iter().map(at).collect();
            for (member, &(robust, time)) in self.members.iter_mut().zip(&all) {
                let beats =
                    |&(other, its): &(u64, f64)| other >= robust && its <= time && (other, its) != (robust, time);
                if let Some(withstood) = member.threats.get_mut(threat) {
                    withstood.on_front = !all.iter().any(beats);
                }
            }
        }
    }
}

fn withstood(report: &Report, model: &ModelResult, at: usize, threat: &ThreatResult) -> Withstood {
    let (clean, robust) = (model.clean.rate(), threat.robust.rate());
    Withstood {
        robust: threat.robust,
        difference: report.comparison.as_ref().and_then(|comparison| comparison.threats.get(at)).copied(),
        verified: threat.verified.as_ref().map(|verified| verified.vra),
        wra: f64::midpoint(clean, robust),
        nrr: if clean + robust > 0.0 { 2.0 * clean * robust / (clean + robust) } else { 0.0 },
        on_front: false,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::baseline::Baseline;
    use crate::event::Event;
    use crate::report::fixture;

    /// A parent and two variants, of the fixture's two models.
    pub(crate) fn family(names: [&str; 2]) -> Family {
        let events = fixture::events(names, ["boot", "sneaker"]);
        // One model of the two, in an audit of its own.
        let only = |at: u32, baseline: Option<&Baseline>| {
            let mut kept: Vec<Event> = Vec::new();
            for event in events.clone() {
                match event {
                    Event::Started(mut started) => {
                        let setup = &mut started.setup;
                        setup.models = vec![setup.models[at as usize].clone()];
                        setup.plan.models = vec![setup.plan.models[at as usize].clone()];
                        setup.plan.gates.clear();
                        started.setup.baseline = baseline.map(|baseline| baseline.accepted(&started).unwrap());
                        kept.push(Event::Started(started));
                    }
                    Event::Clean(mut clean) if clean.model.0 == at => {
                        clean.model.0 = 0;
                        kept.push(Event::Clean(clean));
                    }
                    Event::Attacked(mut attacked) if attacked.model.0 == at => {
                        attacked.model.0 = 0;
                        attacked.examples.clear();
                        kept.push(Event::Attacked(attacked));
                    }
                    Event::Finished => kept.push(Event::Finished),
                    _ => {}
                }
            }
            Report::fold(&kept).unwrap()
        };
        let parent = only(0, None);
        let baseline = Baseline::of(&parent, names[0]).unwrap();
        let costs = |macs, milliseconds: f64| Costs {
            macs,
            parameters: 10,
            bytes: 99,
            milliseconds,
            latency_ratio: milliseconds / 2.0,
            latency_bounds: [milliseconds / 2.0 - 0.1, milliseconds / 2.0 + 0.1],
        };
        let slow = (only(1, Some(&baseline)), costs(300, 3.0));
        let fast = (only(1, Some(&baseline)), costs(100, 1.0));
        Family::of(&[(parent, costs(200, 2.0)), slow, fast]).unwrap()
    }

    #[test]
    fn members_are_compared_with_the_first() {
        let report = fixture::report();
        let compared = report.comparison.as_ref().unwrap();
        let family = family(["net", "pruned"]);
        let [parent, slow, fast] = family.members.as_slice() else { panic!("{family:?}") };
        assert_eq!((parent.clean_difference, parent.threats[0].difference), (None, None));
        for variant in [slow, fast] {
            assert_eq!(variant.clean_difference, Some(compared.clean));
            assert_eq!(variant.threats[0].difference, Some(compared.threats[0]));
        }
        let (clean, robust) = (parent.clean.rate(), parent.threats[0].robust.rate());
        assert!((parent.threats[0].wra - (clean + robust) / 2.0).abs() < 1e-12);
        assert!((parent.threats[0].nrr - 2.0 / (1.0 / clean + 1.0 / robust)).abs() < 1e-12);
        // The slow variant is as robust as the fast one; the parent more than both.
        assert!(parent.threats[0].robust.hits() > fast.threats[0].robust.hits());
        let fronts: Vec<bool> = family.members.iter().map(|member| member.threats[0].on_front).collect();
        assert_eq!(fronts, [true, false, true]);
        let verdicts = |most| family.latency_verdicts(most).into_iter().map(|(_, verdict)| verdict).collect::<Vec<_>>();
        // 1.4 to 1.6 and 0.4 to 0.6 times as slow.
        assert_eq!(verdicts(1.0), [Verdict::Fail, Verdict::Pass]);
        assert_eq!(verdicts(1.5), [Verdict::Inconclusive, Verdict::Pass]);
        assert_eq!(family.title(fast), "pruned@2");
        assert_eq!(family.title(parent), "net");
    }

    #[test]
    fn what_was_not_compared_is_no_family() {
        let report = fixture::report();
        assert!(Family::of(&[]).is_err());
        assert!(
            Family::of(&[(report, Costs::default())])
                .unwrap_err()
                .to_string()
                .contains("one report is on sneaker-net and")
        );
    }
}
