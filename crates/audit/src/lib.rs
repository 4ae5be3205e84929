//! Robustness audits: plans, statistics, the run and the report.
//!
//! [`run()`] carries out an [`Audit`]: a [`Plan`] on [`Subject`]s and a [`Dataset`](assay_data::Dataset). It emits [`Event`]s, one for each [`Step`] of a
//! schedule that is known before; with those that are stored already it goes on behind them. A [`Tally`] is what events tell so far, a [`Report`] what they
//! tell in the end, and every format is one [`Render`]er over it. Every number in it is an [`Estimate`], with its denominator and its interval, or a
//! [`Paired`] comparison. [`job`] makes an audit a job that survives whoever carries it out.

#![forbid(unsafe_code)]

mod baseline;
mod certification;
mod decidable;
mod event;
mod gate;
pub mod job;
mod judge;
mod lines;
mod merge;
mod pictures;
mod plan;
mod plan_file;
mod quote;
mod report;
mod run;
mod schedule;
mod stats;
mod tally;

pub use baseline::{Accepted, Baseline, Marks, Right, Unlike};
pub use certification::{Certification, Certifies};
pub use decidable::Undecidable;
pub use event::{
    AttackFacts, Attacked, Certified, Circumstances, Clean, DataFacts, Environment, Event, Example, Fate, Found,
    GradientFacts, Latency, ModelFacts, ModelId, Pictures, Proof, SampleProof, SampleResult, Setup, Started,
    ThreatFacts, ThreatId,
};
pub use gate::{Condition, Gate};
pub use judge::{Check, GateResult, Grounds, Observed, Verdict};
pub use lines::{WrongLine, from_lines, to_lines};
pub use merge::{MergeError, merge};
pub use plan::{AttackSpec, Evaluation, ModelRef, Order, PLAN_SCHEMA, Plan, PlanData, PlanError, Quoted};
pub use plan_file::{PLAN_TEMPLATE, PlanFileError, line_of};
pub use quote::{Pace, Quote, StageQuote};
pub use report::{
    AttackResult, ByMethod, ClassResult, Comparison, Costs, Csv, Departure, FAMILY_SCHEMA, Failure, Family, Format,
    Github, Html, JobView, Json, Junit, Markdown, Member, ModelResult, NoFamily, Raised, Render, Repeated, Report, Run,
    SCHEMA, Samples, Sarif, Seen, ThreatResult, Timed, Transfer, Verified, Withstood, job_page, jobs_page, plan_schema,
    report_schema,
};
pub use run::{Audit, AuditError, Observer, ObserverError, Progress, Subject, run};
pub use schedule::{Shard, Step, Work};
pub use stats::{
    ALPHA, Counts, Decidable, Decision, Demand, Difference, Discordant, Estimate, Evidence, LEVEL, POWER, Paired,
    decide, median,
};
pub use tally::{Inconsistent, Tally};
