//! A report by samples: what tables, matrices and curves of samples are made from.

use std::collections::HashMap;

use assay_certify::Method;

use super::{Report, Verified};
use crate::event::{Fate, Found, ModelId, SampleResult, ThreatId};

/// What became of one sample, under one threat, for one model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub(super) model: ModelId,
    pub(super) threat: ThreatId,
    /// Position in the data set.
    pub(super) position: u64,
    /// True class.
    pub(super) label: u32,
    /// Class predicted without attack; `None` where the logits were not finite.
    pub(super) prediction: Option<u32>,
    pub(super) fate: Fate,
    /// What changed the prediction.
    pub(super) found: Option<&'a Found>,
    /// What certificates say of it; `None` where none was asked for.
    pub(super) certificate: Option<Certificate>,
}

/// What certificates say of a sample that is classified correctly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certificate {
    Certified(Method),
    Unknown,
    Failed,
}

impl Certificate {
    /// For machines.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Certified(_) => "certified",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
        }
    }

    /// The method that certifies it.
    pub(super) fn by(self) -> Option<Method> {
        if let Self::Certified(by) = self { Some(by) } else { None }
    }
}

impl Row<'_> {
    /// Whether it is classified correctly without attack.
    pub(super) fn is_correct(&self) -> bool {
        self.prediction == Some(self.label)
    }

    /// What became of it, for people: `robust`, `broken`, `wrong, held`, `wrong, changed`, `unstable`, `error`.
    pub(super) fn outcome(&self) -> &'static str {
        match (self.fate, self.is_correct()) {
            (Fate::Held, true) => "robust",
            (Fate::Changed, true) => "broken",
            (Fate::Held, false) => "wrong, held",
            (Fate::Changed, false) => "wrong, changed",
            (Fate::Unstable, _) => "unstable",
            (Fate::Error, _) => "error",
        }
    }

    /// What became of its prediction, for machines.
    pub(super) fn fate_name(&self) -> &'static str {
        match self.fate {
            Fate::Held => "held",
            Fate::Changed => "changed",
            Fate::Unstable => "unstable",
            Fate::Error => "error",
        }
    }
}

impl Report {
    /// All samples of one model and threat after the other.
    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let groups = (0..self.models.len()).flat_map(|model| (0..self.setup.threats.len()).map(move |t| (model, t)));
        groups.flat_map(|(model, threat)| self.rows_of(model, threat))
    }

    /// All samples of one model and threat in the order of the data; none if there is no such model or threat.
    pub(super) fn rows_of(&self, model: usize, threat: usize) -> Vec<Row<'_>> {
        let Some(of) = self.models.get(model) else { return Vec::new() };
        let Some(under) = of.threats.get(threat) else { return Vec::new() };
        let outcomes: HashMap<u64, &SampleResult> = under.outcomes.iter().map(|o| (o.sample, o)).collect();
        let proofs = under.verified.as_ref().map(certificates);
        let samples = self.samples.positions.iter().zip(&self.samples.labels).zip(&of.predictions);
        samples
            .map(|((&position, &label), &prediction)| {
                let outcome = outcomes.get(&position);
                let held = if prediction.is_some() { Fate::Held } else { Fate::Error };
                Row {
                    model: ModelId(model as u32),
                    threat: ThreatId(threat as u32),
                    position,
                    label,
                    prediction,
                    fate: outcome.map_or(held, |outcome| outcome.fate),
                    found: outcome.and_then(|outcome| outcome.found.as_ref()),
                    certificate: proofs
                        .as_ref()
                        .filter(|_| prediction == Some(label))
                        .map(|proofs| proofs.get(&position).copied().unwrap_or(Certificate::Unknown)),
                }
            })
            .collect()
    }
}

/// Of each sample that is certified or failed, which of the two.
pub(super) fn certificates(verified: &Verified) -> HashMap<u64, Certificate> {
    let certified = verified
        .methods
        .iter()
        .flat_map(|of| of.samples.iter().map(move |sample| (*sample, Certificate::Certified(of.method))));
    certified.chain(verified.failures.iter().map(|failure| (failure.sample, Certificate::Failed))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn rows_count_what_the_report_counts() {
        let report = fixture::report();
        let mut groups = 0;
        for (m, model) in report.models.iter().enumerate() {
            for (t, threat) in model.threats.iter().enumerate() {
                let rows = report.rows_of(m, t);
                let robust = rows.iter().filter(|row| row.is_correct() && row.fate == Fate::Held).count() as u64;
                assert_eq!((robust, rows.len() as u64), (threat.robust.hits(), threat.robust.of()));
                assert_eq!(rows.iter().filter(|row| row.prediction.is_none()).count() as u64, model.errors);
                assert!(rows.iter().filter(|row| row.prediction.is_none()).all(|row| row.fate == Fate::Error));
                groups += 1;
            }
        }
        assert_eq!(report.rows().count(), groups * report.samples.labels.len());
        assert!(report.rows_of(2, 0).is_empty() && report.rows_of(0, 99).is_empty());
    }
}
