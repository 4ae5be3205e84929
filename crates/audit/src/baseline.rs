//! The baseline of an audit that is no longer there to be measured: a model of the last report that was accepted.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::{Environment, Fate, ModelFacts, Started, ThreatFacts};
use crate::report::{ModelResult, Report, Samples, ThreatResult};

/// A model of an accepted report, and what became of each sample there: what another model is compared with on the same samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Hexadecimal SHA-256 of the data; empty if unknown.
    data: String,
    /// The samples.
    samples: Samples,
    /// The threats, one for each list of [`Right::threats`].
    threats: Vec<ThreatFacts>,
    /// The model.
    model: ModelFacts,
    /// With what it was measured.
    environment: Environment,
    /// What became of the samples.
    right: Right,
}

/// The model of an accepted report that an audit was compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// The model.
    pub model: ModelFacts,
    /// With what it was measured.
    pub environment: Environment,
    /// Which samples it got right.
    pub right: Right,
}

/// Which samples a model got right: without attack, and under each threat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Right {
    /// Without attack.
    pub clean: Marks,
    /// Under every attack of each threat.
    pub threats: Vec<Marks>,
}

/// One mark per sample: `1` right, `0` wrong, `?` where that could not be measured. In JSON: one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks(pub Vec<Option<bool>>);

/// A report that cannot be the baseline of an audit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the accepted report {0}")]
pub struct Unlike(String);

impl Baseline {
    /// The model called `model` of a report; of a report on one model that one, whatever its name.
    ///
    /// # Errors
    /// It is a part of a report, or has several models of which none is called so.
    pub fn of(report: &Report, model: &str) -> Result<Self, Unlike> {
        let setup = &report.setup;
        if let Some(shard) = setup.shard {
            return Err(Unlike(format!(
                "is the part {shard} of one; put the parts together with `assay report merge`"
            )));
        }
        let names: Vec<&str> = setup.models.iter().map(|facts| facts.name.as_str()).collect();
        // Of two versions the second is what was accepted beside the first.
        let at = if names.len() == 1 { Some(0) } else { names.iter().rposition(|name| *name == model) };
        let found = at.and_then(|at| setup.models.get(at).zip(report.models.get(at)));
        let Some((facts, result)) = found else {
            return Err(Unlike(format!("is on {}; none of them is called {model}", names.join(" and "))));
        };
        Ok(Self {
            data: setup.data.digest.clone(),
            samples: report.samples.clone(),
            threats: setup.threats.clone(),
            model: facts.clone(),
            environment: setup.environment.clone(),
            right: right(&report.samples, result),
        })
    }

    /// What of it an audit is compared with.
    ///
    /// # Errors
    /// It was made on other samples, or without a threat of the audit; or it is damaged.
    pub(crate) fn accepted(&self, audit: &Started) -> Result<Accepted, Unlike> {
        let (data, setup) = (&audit.setup.data, &audit.setup);
        if self.data != data.digest && !self.data.is_empty() && !data.digest.is_empty() {
            return Err(Unlike(format!("is on other data than \"{}\": their SHA-256 differ", data.name)));
        }
        let positions = || (0..).take(audit.labels.len());
        let is_same = match audit.positions.as_slice() {
            [] => positions().eq(self.samples.positions.iter().copied()),
            positions => positions == self.samples.positions,
        };
        if !is_same || self.samples.labels != audit.labels {
            let (then, now) = (self.samples.positions.len(), audit.labels.len());
            return Err(Unlike(format!(
                "is on other samples ({then} there, {now} here): number, draw and seed must be those of its plan"
            )));
        }
        let of_threat = |threat: &ThreatFacts| {
            let at = self.threats.iter().position(|known| known == threat);
            let marks = at.and_then(|at| self.right.threats.get(at)).cloned();
            marks.ok_or_else(|| {
                let has = self.threats.iter().any(|known| known.title() == threat.title());
                let what = if has { "has other attacks or parameters for" } else { "has nothing on" };
                Unlike(format!("{what} the threat {}; measure the baseline anew with this plan", threat.title()))
            })
        };
        let threats = setup.threats.iter().map(of_threat).collect::<Result<Vec<_>, _>>()?;
        if threats.iter().chain([&self.right.clean]).any(|marks| marks.0.len() != audit.labels.len()) {
            return Err(Unlike("does not say of each sample what became of it; it is damaged".to_owned()));
        }
        let right = Right { clean: self.right.clean.clone(), threats };
        Ok(Accepted { model: self.model.clone(), environment: self.environment.clone(), right })
    }
}

impl Accepted {
    /// What reports call it: `accepted fashion-robust@3`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("accepted {}@{}", self.model.name, self.model.version)
    }
}

impl Right {
    /// The marks of some of the samples.
    pub(crate) fn of(&self, samples: &[usize]) -> Self {
        let of = |marks: &Marks| Marks(samples.iter().map(|&i| marks.0.get(i).copied().flatten()).collect());
        Self { clean: of(&self.clean), threats: self.threats.iter().map(of).collect() }
    }
}

/// What a report says of the samples of a model.
fn right(samples: &Samples, model: &ModelResult) -> Right {
    let clean: Vec<Option<bool>> = samples
        .labels
        .iter()
        .zip(&model.predictions)
        .map(|(label, prediction)| prediction.map(|prediction| prediction == *label))
        .collect();
    let under = |threat: &ThreatResult| {
        // Those that did not hold are listed in the order of the samples.
        let mut listed = threat.outcomes.iter().peekable();
        let marks = samples.positions.iter().zip(&clean).map(|(position, clean)| {
            let fate = listed.next_if(|outcome| outcome.sample == *position).map_or(Fate::Held, |outcome| outcome.fate);
            survived(*clean, fate)
        });
        Marks(marks.collect())
    };
    Right { threats: model.threats.iter().map(under).collect(), clean: Marks(clean) }
}

/// Whether a sample is right under attack; `None` where that could not be measured, which is neither a success nor a failure.
pub(crate) fn survived(clean: Option<bool>, fate: Fate) -> Option<bool> {
    match (clean, fate) {
        (Some(true), Fate::Unstable | Fate::Error) => None,
        (clean, fate) => clean.map(|clean| clean && fate == Fate::Held),
    }
}

impl Serialize for Marks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mark = |right: &Option<bool>| match right {
            Some(true) => '1',
            Some(false) => '0',
            None => '?',
        };
        serializer.collect_str(&self.0.iter().map(mark).collect::<String>())
    }
}

impl<'de> Deserialize<'de> for Marks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mark = |mark: char| match mark {
            '1' => Ok(Some(true)),
            '0' => Ok(Some(false)),
            '?' => Ok(None),
            other => Err(D::Error::custom(format!("unknown mark {other:?}; expected 1, 0 or ?"))),
        };
        String::deserialize(deserializer)?.chars().map(mark).collect::<Result<_, _>>().map(Self)
    }
}

impl JsonSchema for Marks {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Marks".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "One mark per sample: `1` right, `0` wrong, `?` where that could not be measured.",
            "type": "string",
            "pattern": "^[01?]*$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::report::fixture;

    fn started() -> Started {
        let Some(Event::Started(started)) =
            fixture::events(["sneaker-net", "sneaker-net-pruned"], ["boot", "sneaker"]).into_iter().next()
        else {
            panic!("no start")
        };
        *started
    }

    #[test]
    fn a_report_says_of_each_sample_what_the_fold_says() {
        let report = fixture::report();
        let compared = report.comparison.clone().unwrap();
        let names: Vec<String> = report.setup.models.iter().map(|model| model.name.clone()).collect();
        let [first, second] = [0, 1].map(|i| Baseline::of(&report, &names[i]).unwrap().right);
        assert_eq!(crate::report::Comparison::of(&first, &second), Some(compared));
        let text = serde_json::to_string(&first).unwrap();
        assert_eq!(serde_json::from_str::<Right>(&text).unwrap(), first);
        assert!(serde_json::from_str::<Marks>("\"01x\"").unwrap_err().to_string().contains("unknown mark 'x'"));
    }

    #[test]
    fn what_is_not_alike_is_not_compared() {
        let report = fixture::report();
        let name = report.setup.models[0].name.clone();
        let baseline = Baseline::of(&report, &name).unwrap();
        let audit = started();
        assert_eq!(baseline.accepted(&audit).unwrap().right, baseline.right);

        let refused = |change: &dyn Fn(&mut Started)| {
            let mut audit = audit.clone();
            change(&mut audit);
            baseline.accepted(&audit).unwrap_err().to_string()
        };
        assert!(refused(&|audit| audit.setup.data.digest = "other".into()).contains("other data"));
        assert!(refused(&|audit| audit.labels[0] += 1).contains("other samples"));
        assert!(refused(&|audit| audit.labels.truncate(3)).contains("(10 there, 3 here)"));
        assert!(
            refused(&|audit| audit.setup.threats[0].name = Some("new".into()))
                .contains("has nothing on the threat new")
        );
        assert!(
            refused(&|audit| audit.setup.threats[0].attacks[1].parameters.clear())
                .contains("other attacks or parameters")
        );
        let mut damaged = baseline.clone();
        damaged.right.threats[0].0.pop();
        assert!(damaged.accepted(&audit).unwrap_err().to_string().contains("damaged"));

        assert!(Baseline::of(&report, "other").unwrap_err().to_string().contains("none of them is called other"));
        let mut part = report;
        part.setup.shard = crate::Shard::new(0, 2);
        assert!(Baseline::of(&part, &name).unwrap_err().to_string().contains("report merge"));
    }
}
