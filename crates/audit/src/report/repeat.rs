//! A report beside a second one of the same plan, on some of the same samples.

use std::collections::HashMap;

use serde::Serialize;

use super::rows::{Certificate, certificates};
use super::{ModelResult, Report, ThreatResult};
use crate::event::{Fate, SampleResult};

/// What a repetition of a part of an audit showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repeated {
    /// Samples that both reports have.
    pub samples: u64,
    /// Predictions and outcomes that were compared.
    pub compared: u64,
    /// Those that differ.
    pub differences: Vec<Departure>,
}

/// Something that two reports say differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Departure {
    /// Title of the model.
    pub model: String,
    /// Title of the threat; `None` without attack.
    pub threat: Option<String>,
    /// Position of the sample in the data; `None`: the file of the model is another one.
    pub sample: Option<u64>,
    /// What the report says.
    pub reported: String,
    /// What the repetition found.
    pub found: String,
}

impl Report {
    /// Compares this report with a later one on some of its samples: files, predictions, and what each sample became under each threat, certificates too. Distances are not
    /// compared: they may differ in their last digits between versions of ONNX Runtime.
    pub fn repeated(&self, again: &Self) -> Repeated {
        let rows: HashMap<u64, usize> = self.samples.positions.iter().copied().zip(0..).collect();
        let shared: Vec<(u64, usize, usize)> = (0..)
            .zip(&again.samples.positions)
            .filter_map(|(now, position)| Some((*position, *rows.get(position)?, now)))
            .collect();
        let mut repeated = Repeated { samples: shared.len() as u64, compared: 0, differences: Vec::new() };
        for (i, (then, now)) in self.models.iter().zip(&again.models).enumerate() {
            let digest =
                |report: &Self| report.setup.models.get(i).map_or_else(String::new, |facts| facts.digest.clone());
            repeated.compare(then, None, None, format!("file {}", digest(self)), format!("file {}", digest(again)));
            for &(position, row_then, row_now) in &shared {
                let [reported, found] = [(then, row_then), (now, row_now)].map(|(model, row)| predicted(model, row));
                repeated.compare(then, None, Some(position), reported, found);
            }
            for (threat_then, threat_now) in then.threats.iter().zip(&now.threats) {
                let [listed_then, listed_now] = [threat_then, threat_now].map(listed);
                for &(position, ..) in &shared {
                    let [reported, found] =
                        [&listed_then, &listed_now].map(|listed| became(listed.get(&position).copied()));
                    repeated.compare(then, Some(threat_then), Some(position), reported, found);
                }
                let (Some(verified_then), Some(verified_now)) = (&threat_then.verified, &threat_now.verified) else {
                    continue;
                };
                let [proved_then, proved_now] = [verified_then, verified_now].map(certificates);
                for &(position, ..) in &shared {
                    let [reported, found] = [&proved_then, &proved_now].map(|proved| proved_of(proved.get(&position)));
                    repeated.compare(then, Some(threat_then), Some(position), reported, found);
                }
            }
        }
        repeated
    }
}

impl Repeated {
    fn compare(
        &mut self,
        model: &ModelResult,
        threat: Option<&ThreatResult>,
        sample: Option<u64>,
        reported: String,
        found: String,
    ) {
        self.compared += 1;
        if reported != found {
            let (model, threat) = (model.title.clone(), threat.map(|threat| threat.title.clone()));
            self.differences.push(Departure { model, threat, sample, reported, found });
        }
    }
}

fn listed(threat: &ThreatResult) -> HashMap<u64, &SampleResult> {
    threat.outcomes.iter().map(|outcome| (outcome.sample, outcome)).collect()
}

fn proved_of(certificate: Option<&Certificate>) -> String {
    match certificate {
        Some(Certificate::Certified(by)) => format!("certified by {by}"),
        Some(Certificate::Failed) => "could not be bounded".to_owned(),
        Some(Certificate::Unknown) | None => "not certified".to_owned(),
    }
}

fn predicted(model: &ModelResult, row: usize) -> String {
    match model.predictions.get(row).copied().flatten() {
        Some(class) => format!("class {class}"),
        None => "logits that are not finite".to_owned(),
    }
}

fn became(outcome: Option<&SampleResult>) -> String {
    match outcome.map(|outcome| (outcome.fate, &outcome.found)) {
        None | Some((Fate::Held, _)) => "held".to_owned(),
        Some((Fate::Changed, Some(found))) => format!("class {} by {}", found.prediction, found.by),
        Some((Fate::Changed, None)) => "changed".to_owned(),
        Some((Fate::Unstable, _)) => "unstable".to_owned(),
        Some((Fate::Error, _)) => "not measured".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::event::Fate;
    use crate::report::fixture;

    #[test]
    fn what_differs_is_found() {
        let report = fixture::report();
        let same = report.repeated(&report);
        // Ten samples of two models: the file, predictions, one threat.
        assert_eq!((same.samples, same.compared, same.differences.len()), (10, 2 * (1 + 10 + 10), 0));

        let mut again = report.clone();
        // The last six samples, of which one is predicted differently, and one is not broken any more.
        again.samples.positions.drain(..4);
        again.models.iter_mut().for_each(|model| drop(model.predictions.drain(..4)));
        again.setup.models[1].digest = "f".repeat(64);
        again.models[0].predictions[1] = Some(7);
        let outcomes = &mut again.models[1].threats[0].outcomes;
        let at = outcomes.iter().position(|outcome| outcome.fate == Fate::Changed && outcome.sample >= 4).unwrap();
        let mended = outcomes.remove(at).sample;
        let found = report.repeated(&again);
        assert_eq!((found.samples, found.compared), (6, 2 * (1 + 6 + 6)));
        let what: Vec<_> = found.differences.iter().map(|d| (d.threat.is_some(), d.sample, d.found.as_str())).collect();
        assert_eq!(what[0], (false, Some(5), "class 7"));
        assert_eq!(what[1].1, None);
        assert_eq!(what[2], (true, Some(mended), "held"));
        assert_eq!(what.len(), 3);
    }
}
