//! The result of an audit, and its renderings.
//!
//! A [`Report`] is made from events only ([`Report::fold`]); each format is one [`Render`]er over it.

mod concern;
mod csv;
mod curves;
mod family;
#[cfg(test)]
pub(crate) mod fixture;
mod fold;
mod format;
mod github;
mod html;
mod json;
mod junit;
mod markdown;
mod repeat;
mod rows;
mod sarif;
pub(crate) mod schema;
#[cfg(test)]
mod showcase;
mod text;

use std::fmt;

use assay_attack::{Cost, FlagKind};
use assay_certify::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Circumstances, Example, ModelId, SampleResult, Setup};
use crate::judge::{GateResult, Verdict};
use crate::stats::{Estimate, Paired};

pub use self::csv::Csv;
pub use family::{Costs, FAMILY_SCHEMA, Family, Member, NoFamily, Withstood};
pub use format::Format;
pub use github::Github;
pub use html::{Html, JobView, job_page, jobs_page};
pub use json::Json;
pub use junit::Junit;
pub use markdown::Markdown;
pub use repeat::{Departure, Repeated};
pub use sarif::Sarif;
pub use schema::{plan_schema, report_schema};

/// Version of the report's JSON format; it changes when a field changes its meaning or goes.
pub const SCHEMA: &str = "assay.report/2";

/// What an audit found. `docs/report.md` documents its JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[must_use]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// Outcome of the gates.
    pub verdict: Verdict,
    /// One per gate of the plan, in order; where it certifies, and no gate of its own says so, one more that no certificate may be violated.
    pub gates: Vec<GateResult>,
    /// One per model, in the plan's order.
    pub models: Vec<ModelResult>,
    /// The second model against the first, or the only one against that of an accepted report ([`Setup::baseline`]).
    pub comparison: Option<Comparison>,
    /// Reasons to doubt a number: one of each kind for each model.
    pub flags: Vec<Raised>,
    /// Some adversarial samples.
    pub examples: Vec<Example>,
    /// Everything that was spent on attacks and predictions.
    #[schemars(with = "schema::Cost")]
    pub cost: Cost,
    /// What is needed to repeat the audit.
    pub setup: Setup,
    /// The samples that were measured.
    pub samples: Samples,
    /// When and on what it was measured, and how long that took: nothing that a repetition has in common with it. `None` where it was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
}

/// The samples that were measured, in the order of the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Samples {
    /// Position of each in the data set.
    pub positions: Vec<u64>,
    /// True class of each.
    pub labels: Vec<u32>,
}

/// A reason to doubt the numbers of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Raised {
    /// The model.
    pub model: ModelId,
    /// What was seen; its cause, meaning and remedy are known.
    #[schemars(schema_with = "schema::flag_kind")]
    pub kind: FlagKind,
    /// What was seen, in a few words; `stages` has the numbers.
    pub detail: String,
    /// The stages in which it was seen.
    pub stages: Vec<Seen>,
}

/// A flag in one stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Seen {
    /// `clean`, or attack and threat.
    pub stage: String,
    /// Samples that show it; 0: the model as a whole does.
    pub samples: u64,
    /// Samples of the stage.
    pub of: u64,
}

/// What only this run knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// When it began, and on what.
    #[serde(flatten)]
    pub circumstances: Circumstances,
    /// Wall time of all stages.
    pub seconds: f64,
    /// Evaluations beside the attacks, that looked for flags.
    #[schemars(with = "schema::Cost")]
    pub checks: Cost,
    /// How long each stage took, in order.
    pub stages: Vec<Timed>,
}

/// How long a stage took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Timed {
    /// The model.
    pub model: ModelId,
    /// `clean`, or attack and threat.
    pub stage: String,
    /// Wall time.
    pub seconds: f64,
}

/// What was measured of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelResult {
    /// Name that tells it from the other model: with the version where names are the same.
    pub title: String,
    /// Samples classified correctly without attack, of all.
    pub clean: Estimate,
    /// Samples whose logits were not finite. They are counted as wrong.
    pub errors: u64,
    /// The same for the samples of each class that occurs.
    pub classes: Vec<ClassResult>,
    /// One per threat, in order.
    pub threats: Vec<ThreatResult>,
    /// What was spent on it.
    #[schemars(with = "schema::Cost")]
    pub cost: Cost,
    /// Class predicted without attack for each sample, in the order of [`Report::samples`]; `null` where the logits were not finite.
    pub predictions: Vec<Option<u32>>,
}

/// What was measured of one model for one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClassResult {
    /// The class.
    pub class: u32,
    /// Its samples classified correctly without attack.
    pub clean: Estimate,
    /// Its samples correct under every attack, one per evaluation.
    pub robust: Vec<Estimate>,
}

/// What was measured of one model under one threat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThreatResult {
    /// Norm and radius.
    pub title: String,
    /// Samples correct without attack and under every attack, of all: the worst case over the attacks.
    pub robust: Estimate,
    /// What certificates prove; absent where the plan certifies nothing under this threat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    /// Samples whose prediction, right or wrong, no attack changed, of all.
    pub stability: Estimate,
    /// Correct samples that an attack broke, of those correct without attack; nothing if none was.
    pub success: Option<Estimate>,
    /// Correct samples for which an adversarial sample was found whose prediction did not hold. Not robust, not broken.
    pub unstable: u64,
    /// Correct samples on which the model or an attack failed. Not robust, not broken.
    pub errors: u64,
    /// One per attack, in order.
    pub attacks: Vec<AttackResult>,
    /// What was found on the other model, shown to this one; absent where the plan does not show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<Transfer>,
    /// The samples, right or wrong, whose prediction did not hold, and why. Every other one held.
    pub outcomes: Vec<SampleResult>,
}

/// What certificates prove of a model under a threat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verified {
    /// Samples correct without attack and certified, of all: the verified robust accuracy (VRA), which is a lower bound of the truth as that under attacks
    /// ([`ThreatResult::robust`], ERA) is an upper one.
    pub vra: Estimate,
    /// The methods that were asked, from the cheapest on, each about what those before it did not certify.
    pub methods: Vec<ByMethod>,
    /// Correct samples that the bounds are too loose for. That says nothing against the model.
    pub unknown: u64,
    /// Correct samples that could not be bounded.
    pub failures: Vec<Failure>,
    /// Positions of samples that are certified and were broken. There are none, unless certificates or attacks are wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violated: Vec<u64>,
}

/// What a method certifies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ByMethod {
    /// The method.
    #[schemars(schema_with = "schema::method")]
    pub method: Method,
    /// Positions of the samples that it certifies, and none before it does.
    pub samples: Vec<u64>,
}

/// A sample that could not be bounded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// Position of the sample in the data.
    pub sample: u64,
    /// Why.
    pub error: String,
}

/// What adversarial samples that were found on one model did to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Transfer {
    /// Title of the model that they were found on.
    pub from: String,
    /// Those that mislead this model, of those made of samples that it classifies correctly; nothing if there are none. Of several that were found for a
    /// sample, the nearest was shown.
    pub misled: Option<Estimate>,
    /// Samples that withstand the attacks on this model and are classified correctly after those on the other too, of all.
    pub robust: Estimate,
}

/// What one attack of an evaluation did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttackResult {
    /// Name of the attack.
    pub name: String,
    /// Correct samples that it broke, of those that it attacked; nothing if there were none.
    pub success: Option<Estimate>,
    /// In sequence: samples correct after it and all before it, of all. Separate: samples correct under it alone, of all.
    pub robust: Estimate,
    /// What was spent, on misclassified samples (for the stability) too.
    #[schemars(with = "schema::Cost")]
    pub cost: Cost,
}

/// Two models on the same samples: the second, or the only one, against the first, or that of an accepted report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// Correct without attack.
    pub clean: Paired,
    /// Robust, one per evaluation.
    pub threats: Vec<Paired>,
}

impl Report {
    /// The same without what only this run knows, so that it is equal to that of any other run of this audit.
    pub fn without_run(self) -> Self {
        Self { run: None, ..self }
    }
}

/// A format of the report.
pub trait Render {
    /// Writes the whole report.
    ///
    /// # Errors
    /// Only those of the writer.
    fn render(&self, report: &Report, out: &mut dyn fmt::Write) -> fmt::Result;

    /// The whole report as text.
    fn to_text(&self, report: &Report) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.render(report, &mut text);
        text
    }
}
