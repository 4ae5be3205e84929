//! The result of an audit, and its renderings.
//!
//! A [`Report`] is made from events only ([`Report::fold`]); each format is one [`Render`]er over it.

#[cfg(test)]
pub(crate) mod fixture;
mod fold;
mod html;
mod json;
mod markdown;
mod text;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::{Cost, Example, Finding, Setup};
use crate::judge::{GateResult, Verdict};
use crate::stats::{Estimate, Paired};

pub use fold::Inconsistent;
pub use html::Html;
pub use json::Json;
pub use markdown::Markdown;

/// Version of the report's JSON format; it changes when a field changes its meaning or goes.
pub const SCHEMA: &str = "assay.report/2";

/// What an audit found. `docs/report.md` documents its JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// Outcome of the gates.
    pub verdict: Verdict,
    /// One per gate of the plan, in order.
    pub gates: Vec<GateResult>,
    /// One per model, in the plan's order.
    pub models: Vec<ModelResult>,
    /// The second model against the first, where there are two.
    pub comparison: Option<Comparison>,
    /// Reasons to doubt a number.
    pub findings: Vec<Finding>,
    /// Some adversarial samples.
    pub examples: Vec<Example>,
    /// Everything that was spent.
    pub cost: Cost,
    /// What is needed to repeat the audit.
    pub setup: Setup,
}

/// What was measured of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelResult {
    /// Name that tells it from the other model: with the version where names are the same.
    pub title: String,
    /// Samples classified correctly without attack, of all.
    pub clean: Estimate,
    /// Samples whose logits were not finite. They are counted as wrong.
    pub errors: u64,
    /// The same for the samples of each class that occurs.
    pub classes: Vec<ClassResult>,
    /// One per evaluation, in order.
    pub threats: Vec<ThreatResult>,
    /// What was spent on it.
    pub cost: Cost,
}

/// What was measured of one model for one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassResult {
    /// The class.
    pub class: u32,
    /// Its samples classified correctly without attack.
    pub clean: Estimate,
    /// Its samples correct under every attack, one per evaluation.
    pub robust: Vec<Estimate>,
}

/// What was measured of one model under one threat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThreatResult {
    /// Norm and radius.
    pub title: String,
    /// Samples correct without attack and under every attack, of all: the worst case over the attacks.
    pub robust: Estimate,
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
}

/// What one attack of an evaluation did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttackResult {
    /// Name of the attack.
    pub name: String,
    /// Correct samples that it broke, of those the attacks before it left; nothing if they left none.
    pub success: Option<Estimate>,
    /// Samples correct after it and all before it, of all.
    pub robust: Estimate,
    /// What was spent, on misclassified samples (for the stability) too.
    pub cost: Cost,
}

/// The second model against the first on the same samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Correct without attack.
    pub clean: Paired,
    /// Robust, one per evaluation.
    pub threats: Vec<Paired>,
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
