//! Robustness audits: plans, statistics, the run and the report.
//!
//! [`run()`] carries out a [`Plan`] on [`Subject`]s and a [`Dataset`](assay_data::Dataset). It emits [`Event`]s; a [`Report`] is a fold over them,
//! and every format is one [`Render`]er over the report. Every number in it is an [`Estimate`], with its denominator and
//! its interval, or a [`Paired`] comparison.

#![forbid(unsafe_code)]

mod decidable;
mod event;
mod gate;
mod judge;
mod pictures;
mod plan;
mod report;
mod run;
mod stats;

pub use decidable::Undecidable;
pub use event::{
    AttackFacts, Attacked, Clean, Cost, DataFacts, Environment, Event, Example, Fate, Finding, FindingKind,
    GradientFacts, ModelFacts, ModelId, Pictures, Setup, ThreatFacts, ThreatId,
};
pub use gate::{Condition, Gate};
pub use judge::{Check, GateResult, Grounds, Observed, Verdict};
pub use plan::{AttackSpec, Evaluation, ModelRef, Plan, PlanError};
pub use report::{
    AttackResult, ClassResult, Comparison, Html, Inconsistent, Json, Markdown, ModelResult, Render, Report, SCHEMA,
    ThreatResult,
};
pub use run::{AuditError, Observer, Progress, Subject, run};
pub use stats::{
    ALPHA, Counts, Decidable, Decision, Demand, Difference, Discordant, Estimate, Evidence, LEVEL, POWER, Paired,
    decide,
};
