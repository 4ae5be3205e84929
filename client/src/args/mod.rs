//! The command line: what every command has, and a file for the options of each group.

mod attack;
mod audit;
mod bench;
mod certify;
mod gradient;
mod harden;
mod models;
mod oip;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use assay_data::Severity;
use clap::{Args as Group, Parser, Subcommand, ValueEnum};

pub(crate) use self::attack::{Attack, Budget, Transfer, Weights};
pub(crate) use self::audit::{Audit, Compare, PlanCommand, ReportCommand, VerifyReport};
pub(crate) use self::bench::Bench;
pub(crate) use self::certify::{Certify, Certifying};
pub(crate) use self::gradient::{Gradient, LossName};
pub(crate) use self::harden::Harden;
pub(crate) use self::models::{Attacks, Errors, Models, ModelsCommand};
pub(crate) use self::oip::Oip;
use self::values::seconds;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 a gate of the audit failed, 2 usage error, 3 could not reach or evaluate, \
                          4 a gate of the audit is inconclusive or unreliable.";

/// Heading of the options that every command has, so that they do not hide its own.
const COMMON: &str = "Options of every command";

/// Predict with, differentiate, attack, certify and audit ONNX classifiers.
#[derive(Debug, Parser)]
#[command(name = "assay", version, after_help = EXIT_CODES, max_term_width = 120)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) target: Target,

    /// How to print results
    #[arg(long, global = true, help_heading = COMMON, value_enum, default_value_t = Output::Human)]
    pub(crate) output: Output,

    /// Give up after this many seconds
    #[arg(long, global = true, help_heading = COMMON, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Who evaluates.
#[derive(Debug, Group)]
pub(crate) struct Target {
    /// Address of the server: http://HOST:PORT, or https://HOST:PORT for TLS
    #[arg(long, global = true, help_heading = COMMON, env = "ASSAY_SERVER", value_name = "URL", default_value = "http://127.0.0.1:8081")]
    pub(crate) server: String,

    /// File with the API key that the server asks for, alone on its line; without it, the environment variable ASSAY_API_KEY
    #[arg(long, global = true, help_heading = COMMON, value_name = "FILE", conflicts_with = "embed")]
    pub(crate) api_key_file: Option<PathBuf>,

    /// Send the API key to another machine in plain text too, where all that is between can read it
    #[arg(long, global = true, help_heading = COMMON, env = "ASSAY_PLAIN_TEXT_KEY", value_name = "YES", action = clap::ArgAction::Set,
        value_parser = clap::builder::BoolishValueParser::new(), num_args = 0..=1, require_equals = true, default_value_t = false,
        default_missing_value = "true")]
    pub(crate) plain_text_key: bool,

    /// File with the authorities that vouch for servers with https:// or oips:// addresses, in PEM; without it, those of this system do
    #[arg(long, global = true, help_heading = COMMON, env = "ASSAY_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,

    /// File with the certificate for servers that ask for one, in PEM
    #[arg(long, global = true, help_heading = COMMON, env = "ASSAY_CERT", value_name = "FILE", requires = "cert_key")]
    pub(crate) cert: Option<PathBuf>,

    /// File with the key of --cert, in PEM
    #[arg(long, global = true, help_heading = COMMON, env = "ASSAY_CERT_KEY", value_name = "FILE", requires = "cert")]
    pub(crate) cert_key: Option<PathBuf>,

    /// Host the model repository DIR in this process instead of calling a server
    #[arg(long, global = true, help_heading = COMMON, value_name = "DIR")]
    pub(crate) embed: Option<PathBuf>,
}

/// Format of standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Tables
    Human,
    /// One JSON document
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Classify images or a data set
    Predict(Predict),
    /// Differentiate a loss, or any function of the logits, with respect to images or a data set
    Gradient(Gradient),
    /// Attack a model with one attack
    Attack(Box<Attack>),
    /// Attack models, and see whether what is found misleads other models too
    Transfer(Box<Transfer>),
    /// Prove of samples that nothing within a radius changes the prediction
    Certify(Certify),
    /// Measure accuracy where an adversary changes the weights, the inputs, or both
    Weights(Weights),
    /// Train or prune a model by a recipe, and put it into the repository or into a file
    Harden(Harden),
    /// Measure clean and robust accuracy of one model, or of two on the same samples
    Audit(Box<Audit>),
    /// Write the plan of an audit, or see whether one makes sense and what it may cost
    Plan {
        #[command(subcommand)]
        command: PlanCommand,
    },
    /// Compare a model with its variants: accuracy, robustness, size and latency, on the same samples
    Compare(Compare),
    /// Write the reports of an audit that was made before in other formats, or put those of its shards together
    Report {
        #[command(subcommand)]
        command: ReportCommand,
    },
    /// Measure how fast a model answers under load
    Bench(Bench),
    /// List the models, show one, or inspect what it is made of
    Models(Models),
    /// List the attacks, or show one with its parameters
    Attacks(Attacks),
    /// Explain the ids of errors, which end the messages of calls that failed
    Errors(Errors),
}

/// Samples of a data set.
#[derive(Debug, Group)]
pub(crate) struct Data {
    /// Data set: IDX files (.gz), binary batches of CIFAR (.bin) or Parquet files of pictures, one or their folder; an .npz file;
    /// or a folder of images with one subfolder a class. Of a folder with training data too, the test data are taken
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,

    /// Of corrupted images as those of CIFAR-10-C (KIND.npy with five severities, labels.npy beside it), use this severity
    #[arg(long, value_name = "1..5", requires = "data")]
    pub(crate) severity: Option<Severity>,

    /// Use the first N samples only
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) samples: Option<u64>,
}

#[derive(Debug, Group)]
pub(crate) struct Predict {
    /// Model, as NAME or NAME/VERSION
    pub(crate) model: String,

    /// Image (PNG, JPEG or NPY); may be given several times
    #[arg(long = "image", value_name = "FILE", conflicts_with = "data", num_args = 1..)]
    pub(crate) images: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) data: Data,

    /// Classes to list for each sample
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) top_k: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }
}
