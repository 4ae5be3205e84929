//! Robustness audits: plans, statistics, the run and the report.
//!
//! [`run()`] carries out an [`Audit`]: a [`Plan`] on [`Subject`]s and a [`Dataset`](assay_data::Dataset). It emits [`Event`]s, one for each [`Step`] of a
//! schedule that is known before; with those that are stored already it goes on behind them. A [`Tally`] is what events tell so far, a [`Report`] what they
//! tell in the end, and every format is one [`Render`]er over it. Every number in it is an [`Estimate`], with its denominator and its interval, or a
//! [`Paired`] comparison.

#![forbid(unsafe_code)]

mod event;
mod gate;
mod merge;
mod pictures;
mod plan;
mod report;
mod run;
mod schedule;
mod stats;
mod tally;

pub use event::{
    AttackFacts, Attacked, Circumstances, Clean, DataFacts, Environment, Event, Example, Fate, Found, GradientFacts,
    ModelFacts, ModelId, Pictures, SampleResult, Setup, Started, ThreatFacts, ThreatId,
};
pub use gate::{Check, Gate, GateResult, Observed, Verdict};
pub use merge::{MergeError, merge};
pub use plan::{AttackSpec, Evaluation, ModelRef, Order, Plan, PlanError};
pub use report::{
    AttackResult, ClassResult, Comparison, Csv, Format, Github, Html, Json, Junit, Markdown, ModelResult, Raised,
    Render, Report, Run, SCHEMA, Samples, Sarif, Seen, ThreatResult, Timed, report_schema,
};
pub use run::{Audit, AuditError, Observer, Progress, StoreError, Subject, run};
pub use schedule::{Shard, Step, Work};
pub use stats::{Difference, Estimate, LEVEL, Paired};
pub use tally::{Inconsistent, Tally};
