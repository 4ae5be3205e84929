//! What is said of audits on the command line: of one, of a comparison, of plans and of reports.

use std::path::PathBuf;

use assay_audit::Shard;
use assay_data::{Draw, Severity};
use clap::{Args as Group, Subcommand};

use super::values::{draw, rate};
use super::{Certifying, Data};
use crate::spec::{AttackArg, ThreatArg};

/// Heading of the options about the job that an audit is.
const JOBS: &str = "The audit as a job";

#[derive(Debug, Group)]
pub(crate) struct Audit {
    /// The model, or the baseline and its variant, as NAME or NAME/VERSION. A server measures in a job that goes on without this command, and where it has a
    /// job of the same that has not ended, or that failed, that one goes on; with --embed DIR this process measures, and the same command goes on with
    /// what was cut off
    #[arg(required_unless_present_any = ["plan", "follow", "cancel", "delete", "list"], num_args = 1..=2, value_name = "MODEL")]
    pub(crate) models: Vec<String>,

    /// What to measure, on what, and what must hold: a file, in the place of the options for all this. `assay plan init` writes one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["models", "data", "severity", "samples", "dataset", "threats", "transfer", "certify", "seed"])]
    pub(crate) plan: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) data: Data,

    /// Which samples, where --samples is less than there are
    #[arg(long, value_name = "HOW", value_parser = draw, default_value = "first")]
    pub(crate) draw: Draw,

    /// Data set registered on the server, by name, instead of --data
    #[arg(long, value_name = "NAME", conflicts_with = "data")]
    pub(crate) dataset: Option<String>,

    /// What the adversary may do: NORM:EPS; may be given several times
    #[arg(long = "threat", value_name = "NORM:EPS", required_unless_present_any = ["plan", "follow", "cancel", "delete", "list"])]
    pub(crate) threats: Vec<ThreatArg>,

    /// Attack and parameters, each attacking what the ones before left; may be given several times
    #[arg(long = "attack", value_name = "NAME[:KEY=VALUE,...]", default_value = "pgd")]
    pub(crate) attacks: Vec<AttackArg>,

    /// Each attack sees all samples, not what the ones before left: the accuracy under each alone
    #[arg(long)]
    pub(crate) separate: bool,

    /// Show what is found on each of two models to the other too
    #[arg(long)]
    pub(crate) transfer: bool,

    #[command(flatten)]
    pub(crate) certifying: Certifying,

    /// Seed of all randomness
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,

    /// Measure one part of the samples, as 0/4 to 3/4, and decide nothing: `assay report merge` puts the records (--report FILE.jsonl) together
    #[arg(long, value_name = "INDEX/COUNT")]
    pub(crate) shard: Option<Shard>,

    /// Compare the only model with that of the last report that was accepted (.json or .jsonl), on the same samples under the same threats
    #[arg(long, value_name = "REPORT", conflicts_with_all = ["follow", "cancel", "delete", "list"])]
    pub(crate) baseline: Option<PathBuf>,

    /// Gate: every model's robust accuracy under every threat is at least this (0 to 1)
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) min_robust_accuracy: Option<f64>,

    /// Gate: every model's clean accuracy is at least this (0 to 1)
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) min_clean_accuracy: Option<f64>,

    /// Gate: every model's verified accuracy under every threat that samples are certified against is at least this (0 to 1); with --certify
    #[arg(long, value_name = "RATE", value_parser = rate, requires = "certify")]
    pub(crate) min_certified: Option<f64>,

    /// Gate: the second model's robust accuracy is at most this much below that of the first, or of --baseline (0 to 1)
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) max_drop: Option<f64>,

    /// Gate: the second model's clean accuracy is at most this much below that of the first, or of --baseline (0 to 1)
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) max_clean_drop: Option<f64>,

    /// Gate: every model's mean error over the threats is at most this (0 to 1), where the attack is `corruption`
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) max_corruption_error: Option<f64>,

    /// Gate: the second model's predictions take at most this many times as long as the first's; both are timed in turn, while the audit runs
    #[arg(long, value_name = "RATIO")]
    pub(crate) max_latency_ratio: Option<f64>,

    /// Gate: no model raises a flag of these kinds, such as zero-gradient
    #[arg(long, value_name = "KIND,...", value_delimiter = ',')]
    pub(crate) forbid_flags: Vec<String>,

    /// Say what the audit may cost at most, in evaluations and in time, and do not start it
    #[arg(long, conflicts_with_all = ["follow", "cancel", "delete", "list", "detach", "spread"])]
    pub(crate) quote: bool,

    /// Write the report; its ending says the format: .json, .md, .html, .xml (JUnit), .sarif or .csv, or .jsonl for the record that all of them are made of; may be given several times
    #[arg(long = "report", value_name = "FILE")]
    pub(crate) reports: Vec<PathBuf>,

    /// With --embed DIR, folder of what was measured until now; it is there until the audit is done [default: DIR/.audits]
    #[arg(long, help_heading = JOBS, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,

    /// Name of the job: with the same one, the same audit is made once, whenever and from wherever it is asked for
    #[arg(long, help_heading = JOBS, value_name = "KEY")]
    pub(crate) key: Option<String>,

    /// Start the job, print its id, and do not wait for it
    #[arg(long, help_heading = JOBS, conflicts_with = "reports")]
    pub(crate) detach: bool,

    /// Follow this job of the server to its report; one that failed goes on
    #[arg(long, help_heading = JOBS, value_name = "JOB", conflicts_with_all = ["models", "plan"])]
    pub(crate) follow: Option<String>,

    /// Stop this job of the server for good
    #[arg(long, help_heading = JOBS, value_name = "JOB", conflicts_with_all = ["models", "plan", "follow"])]
    pub(crate) cancel: Option<String>,

    /// Delete this job of the server, which has ended, and its report
    #[arg(long, help_heading = JOBS, value_name = "JOB", conflicts_with_all = ["models", "plan", "follow", "cancel"])]
    pub(crate) delete: Option<String>,

    /// List the jobs of the server
    #[arg(long, help_heading = JOBS, conflicts_with_all = ["models", "plan", "follow", "cancel", "delete"])]
    pub(crate) list: bool,

    /// Share the audit among this server and that of --server, as shards that are jobs of one of them each; the report is that of one run. The shard of a
    /// server that goes away is measured by another. The same command goes on with what was cut off; may be given several times
    #[arg(long, help_heading = JOBS, value_name = "URL", conflicts_with_all = ["shard", "detach", "follow", "cancel", "delete", "list"])]
    pub(crate) spread: Vec<String>,

    /// Try for so many seconds to reach a server again that went away; 0: do not try
    #[arg(long, help_heading = JOBS, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) reconnect: u64,
}

#[derive(Debug, Group)]
pub(crate) struct Compare {
    /// The model that the others are compared with, as NAME or NAME/VERSION
    pub(crate) parent: String,

    /// Its variants [default: the hosted models that were made from it]
    #[arg(value_name = "VARIANT")]
    pub(crate) variants: Vec<String>,

    #[command(flatten)]
    pub(crate) data: Data,

    /// Data set registered on the server, by name, instead of --data
    #[arg(long, value_name = "NAME", conflicts_with = "data")]
    pub(crate) dataset: Option<String>,

    /// What the adversary may do: NORM:EPS; may be given several times
    #[arg(long = "threat", value_name = "NORM:EPS", required = true)]
    pub(crate) threats: Vec<ThreatArg>,

    /// Attack and parameters, each attacking what the ones before left; may be given several times
    #[arg(long = "attack", value_name = "NAME[:KEY=VALUE,...]", default_value = "pgd")]
    pub(crate) attacks: Vec<AttackArg>,

    #[command(flatten)]
    pub(crate) certifying: Certifying,

    /// Seed of all randomness
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,

    /// Gate: every variant's latency is at most so many times the model's, decided by bounds of the median; it fails with exit code 1, and is open with 4
    #[arg(long, value_name = "RATIO")]
    pub(crate) max_latency_ratio: Option<f64>,

    /// Write the comparison; its ending says the format: .json, .md or .html; may be given several times
    #[arg(long = "report", value_name = "FILE")]
    pub(crate) reports: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PlanCommand {
    /// Write a plan with a comment on everything that may stand in it
    Init {
        /// The file, which must not be there
        #[arg(default_value = "audit.toml")]
        file: PathBuf,
    },
    /// Say what is wrong in a plan, and what it may cost
    Check {
        /// The plan
        #[arg(default_value = "audit.toml")]
        file: PathBuf,

        /// Samples, where the plan does not say how many
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        samples: Option<u64>,
    },
    /// Print the JSON Schema of plans, for editors
    Schema,
}

#[derive(Debug, Group)]
pub(crate) struct VerifyReport {
    /// A report (.json), or the record of an audit (.jsonl)
    pub(crate) record: PathBuf,

    /// The data set of the report [default: the path in its plan]
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,

    /// Of corrupted images as those of CIFAR-10-C, the severity of the report
    #[arg(long, value_name = "1..5", requires = "data")]
    pub(crate) severity: Option<Severity>,

    /// How many samples to measure again, of each class its share
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) samples: usize,

    /// Which ones
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReportCommand {
    /// Print what did not pass and what is in doubt as annotations of GitHub Actions
    Annotate {
        /// A report (.json), or the record of an audit (.jsonl)
        record: PathBuf,
    },
    /// Print the JSON Schema of reports
    Schema,
    /// Write a report in other formats
    Render {
        /// A report (.json), or the record of an audit (.jsonl)
        record: PathBuf,

        /// Write the report; its ending says the format: .json, .md, .html, .xml (JUnit), .sarif or .csv; may be given several times
        #[arg(long = "report", value_name = "FILE", required = true)]
        reports: Vec<PathBuf>,
    },
    /// Measure some samples of a report again with the models that are hosted now, and say where the report says something else (exit code 1)
    Verify(VerifyReport),
    /// Put the records of all shards of one audit together: the report is the same as if one run had measured all samples
    Merge {
        /// Records of audits that were given --shard (.jsonl), all of them, or their folder
        #[arg(required = true, num_args = 1.., value_name = "RECORD")]
        records: Vec<PathBuf>,

        /// Write the report; its ending says the format: .json, .md, .html, .xml (JUnit), .sarif or .csv; may be given several times
        #[arg(long = "report", value_name = "FILE", required = true)]
        reports: Vec<PathBuf>,
    },
}
