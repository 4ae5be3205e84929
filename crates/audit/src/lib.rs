//! Robustness audits: plans, statistics, the run and the report.
//!
//! [`run()`] carries out a [`Plan`] on [`Subject`]s and a [`Dataset`](assay_data::Dataset). It emits [`Event`]s; a [`Report`] is a fold over them,
//! and every format is one [`Render`]er over the report. Every number in it is an [`Estimate`], with its denominator and
//! its interval, or a [`Paired`] comparison. [`job`] makes an audit a job that survives whoever carries it out.

#![forbid(unsafe_code)]

mod event;
mod gate;
pub mod job;
mod pictures;
mod plan;
mod report;
mod run;
mod stats;

pub use event::{
    AttackFacts, Attacked, Clean, Cost, DataFacts, Environment, Event, Example, Fate, Finding, FindingKind,
    GradientFacts, ModelFacts, ModelId, Pictures, Setup, ThreatFacts, ThreatId,
};
pub use gate::{Check, Gate, GateResult, Observed, Verdict};
pub use plan::{AttackSpec, Evaluation, ModelRef, Plan, PlanError};
pub use report::{
    AttackResult, ClassResult, Comparison, Html, Inconsistent, Json, Markdown, ModelResult, Render, Report, SCHEMA,
    ThreatResult,
};
pub use run::{AuditError, Observer, Progress, Subject, run};
pub use stats::{Difference, Estimate, LEVEL, Paired};
