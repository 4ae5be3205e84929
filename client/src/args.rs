//! The command line.

mod certify;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use assay_attack::{Bounds, Norm};
use assay_audit::Shard;
use assay_data::{Draw, Severity};
use clap::{Args as Group, Parser, Subcommand, ValueEnum};

pub(crate) use self::certify::{Certify, Certifying};
use crate::spec::{AttackArg, TargetArg, ThreatArg};

const EXIT_CODES: &str = "Exit codes: 0 done, 1 a gate of the audit failed, 2 usage error, 3 could not reach or evaluate, \
                          4 a gate of the audit is inconclusive or unreliable.";

/// Heading of the options that every command has, so that they do not hide its own.
const COMMON: &str = "Options of every command";

/// Heading of the options about the job that an audit is.
const JOBS: &str = "The audit as a job";

/// Heading of the options that the model of another server asks for.
const OIP: &str = "Options where a MODEL is oip://HOST:PORT/NAME (oips:// with TLS), on a server that speaks the Open Inference Protocol";

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

#[derive(Debug, Group)]
pub(crate) struct Bench {
    /// Model, as NAME or NAME/VERSION, or oip://HOST:PORT/NAME on a server that speaks the Open Inference Protocol
    pub(crate) model: String,

    /// Callers at the same time, each of which waits for its answer before it asks again; several numbers are measured one after the other
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,2,4,8,16")]
    pub(crate) concurrency: Vec<NonZeroUsize>,

    /// Requests a second, sent whether or not those before were answered; times count from when a request was due
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = per_second, conflicts_with = "concurrency")]
    pub(crate) rate: Vec<f64>,

    /// Samples of a request
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) batch: NonZeroUsize,

    /// Seconds that are measured, for each load
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(crate) duration: Duration,

    /// Seconds before them that do not count
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) warm_up: Duration,

    /// Connections that the requests are spread over
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) connections: NonZeroUsize,

    /// What is sent; noise without it
    #[command(flatten)]
    pub(crate) data: Data,
}

#[derive(Debug, Group)]
pub(crate) struct Harden {
    /// The recipe, a TOML file: docs/guides/train.md says what may stand in it. A server trains in a job that goes on without this command, and where
    /// it has a job of this recipe that was stopped, that one goes on; with --embed DIR this process trains, and the model goes into DIR
    #[arg(required_unless_present_any = ["follow", "cancel", "list"])]
    pub(crate) recipe: Option<PathBuf>,

    /// Train in this process, without a repository, and write the ONNX file here. The recipe's model is a file then
    #[arg(long, value_name = "FILE", requires = "recipe")]
    pub(crate) out: Option<PathBuf>,

    /// With --out or --embed, folder of the run: its checkpoint is there until it is done, and a run that was cut off goes on from it [default: FILE
    /// with the extension .run; DIR/.harden]
    #[arg(long, value_name = "DIR", requires = "recipe")]
    pub(crate) state: Option<PathBuf>,

    /// With --out or --embed, threads [default: the processors of this process]
    #[arg(long, value_name = "N", requires = "recipe")]
    pub(crate) threads: Option<NonZeroUsize>,

    /// Follow this job of the server; one that was stopped or failed goes on
    #[arg(long, value_name = "JOB", conflicts_with = "recipe")]
    pub(crate) follow: Option<String>,

    /// Stop this job of the server
    #[arg(long, value_name = "JOB", conflicts_with_all = ["recipe", "follow"])]
    pub(crate) cancel: Option<String>,

    /// List the jobs of the server
    #[arg(long, conflicts_with_all = ["recipe", "follow", "cancel"])]
    pub(crate) list: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Gradient {
    /// Model, as NAME or NAME/VERSION
    pub(crate) model: String,

    /// Image (PNG, JPEG or NPY); may be given several times
    #[arg(long = "image", value_name = "FILE", conflicts_with = "data", num_args = 1..)]
    pub(crate) images: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) data: Data,

    /// What is differentiated
    #[arg(long, value_enum, default_value_t = LossName::CrossEntropy)]
    pub(crate) loss: LossName,

    /// Class of every sample, instead of the data's; images without it take the class that the model predicts
    #[arg(long, value_name = "CLASS")]
    pub(crate) label: Option<u32>,

    /// Class that every sample is targeted at, for --loss margin-targeted or dlr-targeted
    #[arg(long, value_name = "CLASS")]
    pub(crate) target: Option<u32>,

    /// Instead of a loss: weights of the logits, [samples, classes]; the result is their product with the Jacobian
    #[arg(long, value_name = "FILE.npy", conflicts_with_all = ["loss", "label", "target"])]
    pub(crate) cotangent: Option<PathBuf>,

    /// Write gradient, logits, loss and labels to a NumPy archive
    #[arg(long, value_name = "FILE.npz")]
    pub(crate) save: Option<PathBuf>,

    /// Write a saliency map of each image into this folder: the largest size of the gradient over the channels, as grey PNG
    #[arg(long, value_name = "FOLDER")]
    pub(crate) saliency: Option<PathBuf>,
}

/// A loss that the server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LossName {
    /// logsumexp(z) - z_label
    CrossEntropy,
    /// The largest other logit less the label's
    Margin,
    /// The logit of --target less the label's
    MarginTargeted,
    /// Difference of logits ratio (Croce and Hein, 2020)
    Dlr,
    /// The same towards --target
    DlrTargeted,
}

/// What an attack may spend. Where a part of it is spent it ends, with what was found until then.
#[derive(Debug, Group)]
pub(crate) struct Budget {
    /// End a sample's attack after so many forward evaluations
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_queries: Option<u64>,

    /// End a sample's attack after so many gradients
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_gradients: Option<u64>,

    /// End the attack after so many seconds; samples that were not finished are not measured
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) max_seconds: Option<Duration>,
}

impl Budget {
    /// What is left of it after so much time.
    pub(crate) fn message(&self, spent: Duration) -> assay_proto::v1::Budget {
        // 0 would be no limit.
        let left = |most: Duration| most.saturating_sub(spent).as_secs_f64().max(1e-9);
        assay_proto::v1::Budget {
            queries: self.max_queries.unwrap_or(0),
            gradients: self.max_gradients.unwrap_or(0),
            seconds: self.max_seconds.map_or(0.0, left),
        }
    }
}

#[derive(Debug, Group)]
pub(crate) struct Attack {
    /// Model, as NAME or NAME/VERSION; or on any server that speaks the Open Inference Protocol, as oip://HOST:PORT/NAME[/VERSION]
    pub(crate) model: String,

    #[command(flatten)]
    pub(crate) data: Data,

    /// What the adversary may do: NORM:EPS, for example Linf:8/255, L2:0.5, L1:12 or L0:20; EPS inf: any valid input
    #[arg(long, value_name = "NORM:EPS")]
    pub(crate) threat: ThreatArg,

    /// Attack and parameters, for example pgd:steps=40,restarts=2 (see `assay attacks`)
    #[arg(long, value_name = "NAME[:KEY=VALUE,...]", default_value = "pgd")]
    pub(crate) attack: AttackArg,

    /// The class that each prediction is to become, and no other: a number, least-likely, random, or rank:N for the N-th most
    /// likely one that is not the label. Samples that are labelled with it are left out
    #[arg(long, value_name = "CLASS")]
    pub(crate) target: Option<TargetArg>,

    /// Seed of all randomness
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,

    #[command(flatten)]
    pub(crate) budget: Budget,

    /// Say what the attack may cost at most, and run nothing
    #[arg(long)]
    pub(crate) quote: bool,

    /// Only images of 8 bits count: points are rounded to them before they are evaluated
    #[arg(long)]
    pub(crate) eight_bit: bool,

    /// Leave out the evaluations that look for flags and are no part of the attack
    #[arg(long)]
    pub(crate) skip_checks: bool,

    /// Write the adversarial samples to a NumPy file, [n, sample shape...] f32
    #[arg(long, value_name = "FILE.npy")]
    pub(crate) save: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) oip: Oip,
}

#[derive(Debug, Group)]
pub(crate) struct Transfer {
    /// Models that are attacked, as NAME or NAME/VERSION; what is found on one is shown to all
    #[arg(required = true, num_args = 1.., value_name = "MODEL")]
    pub(crate) models: Vec<String>,

    /// Show what is found to this model too, and do not attack it; it may be oip://HOST:PORT/NAME[/VERSION]; may be given several times
    #[arg(long = "to", value_name = "MODEL")]
    pub(crate) to: Vec<String>,

    #[command(flatten)]
    pub(crate) data: Data,

    /// What the adversary may do: NORM:EPS, for example Linf:8/255
    #[arg(long, value_name = "NORM:EPS")]
    pub(crate) threat: ThreatArg,

    /// Attack and parameters. With keep=best it goes on after the first adversarial point of a sample, which barely misleads the
    /// model itself, and seldom others
    #[arg(long, value_name = "NAME[:KEY=VALUE,...]", default_value = "mi-fgsm:keep=best")]
    pub(crate) attack: AttackArg,

    /// The class that each prediction is to become, and no other: a number, least-likely, random, or rank:N. Samples that are
    /// labelled with it are left out
    #[arg(long, value_name = "CLASS")]
    pub(crate) target: Option<TargetArg>,

    /// Seed of all randomness
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,

    /// Only images of 8 bits count: points are rounded to them before they are evaluated
    #[arg(long)]
    pub(crate) eight_bit: bool,

    #[command(flatten)]
    pub(crate) budget: Budget,

    #[command(flatten)]
    pub(crate) oip: Oip,
}

#[derive(Debug, Group)]
pub(crate) struct Weights {
    /// Model, as NAME or NAME/VERSION
    pub(crate) model: String,

    #[command(flatten)]
    pub(crate) data: Data,

    /// How far each weight tensor may be changed, as shares of its Euclidean length, rising
    #[arg(long, value_name = "R,...", value_delimiter = ',', default_value = "0,0.001,0.003,0.01,0.03", value_parser = radius)]
    pub(crate) radii: Vec<f64>,

    /// Norm of changes of inputs: Linf, L2 or L1
    #[arg(long, default_value_t = Norm::Linf)]
    pub(crate) norm: Norm,

    /// How far inputs may be changed, rising, for example 0,2/255,8/255
    #[arg(long, value_name = "EPS,...", value_delimiter = ',', default_value = "0")]
    pub(crate) eps: Vec<String>,

    /// Steps of each ascent
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) steps: u32,

    /// Random changes of the weights that are tried for each radius, for comparison
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) draws: u32,

    /// Seed of all randomness
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

/// What is said of a model on another server, and how it is treated.
#[derive(Debug, Default, Group)]
pub(crate) struct Oip {
    /// Most samples in one request; by default 64, or as many as fit into 4 MiB
    #[arg(long, help_heading = OIP, value_name = "N")]
    pub(crate) batch: Option<NonZeroUsize>,

    /// Most samples sent in a second
    #[arg(long, help_heading = OIP, value_name = "N", value_parser = per_second)]
    pub(crate) rate: Option<f64>,

    /// How often a request is sent again, after longer and longer pauses, while the server is unavailable [default: 7]
    #[arg(long, help_heading = OIP, value_name = "N")]
    pub(crate) retries: Option<u32>,

    /// Range of valid inputs [default: 0,1, and 0,255 where the input is bytes]
    #[arg(long, help_heading = OIP, value_name = "LOW,HIGH", value_parser = bounds, allow_hyphen_values = true)]
    pub(crate) range: Option<Bounds>,

    /// Name of the input, where the metadata names none; it is sent FP32 then
    #[arg(long, help_heading = OIP, value_name = "NAME")]
    pub(crate) input: Option<String>,

    /// Shape of one sample, without the batch, where the model's metadata leaves it open
    #[arg(long, help_heading = OIP, value_name = "SIZE,...", value_delimiter = ',')]
    pub(crate) shape: Option<Vec<NonZeroUsize>>,

    /// Number of classes, where the metadata leaves it open, as where the model answers with a class
    #[arg(long, help_heading = OIP, value_name = "K", value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) classes: Option<u32>,

    /// Name of the output that holds logits or probabilities, where there are several
    #[arg(long, help_heading = OIP, value_name = "NAME")]
    pub(crate) logits: Option<String>,
}

impl Oip {
    /// The first of these options that is there.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let all = [
            ("--batch", self.batch.is_some()),
            ("--rate", self.rate.is_some()),
            ("--retries", self.retries.is_some()),
            ("--range", self.range.is_some()),
            ("--input", self.input.is_some()),
            ("--shape", self.shape.is_some()),
            ("--classes", self.classes.is_some()),
            ("--logits", self.logits.is_some()),
        ];
        all.into_iter().find_map(|(name, given)| given.then_some(name))
    }
}

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

#[derive(Debug, Group)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Models {
    /// Show this one, as NAME or NAME/VERSION
    pub(crate) model: Option<String>,

    #[command(subcommand)]
    pub(crate) command: Option<ModelsCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// Show what a model is made of: operators, layers, multiply-accumulates, sparsity, and whether it has gradients
    Inspect {
        /// Model, as NAME or NAME/VERSION
        model: String,
    },
    /// Show which models were made from which, by the digests that their files hold: all, or one with its forebears and what was made from it
    Lineage {
        /// Model, as NAME or NAME/VERSION
        model: Option<String>,
    },
}

#[derive(Debug, Group)]
pub(crate) struct Attacks {
    /// Show this one
    pub(crate) attack: Option<String>,
}

#[derive(Debug, Group)]
pub(crate) struct Errors {
    /// Explain this one in full; without it, all of them are listed
    #[arg(value_name = "ID")]
    pub(crate) id: Option<String>,
}

fn draw(text: &str) -> Result<Draw, String> {
    match text {
        "first" => Ok(Draw::First),
        "random" => Ok(Draw::Random),
        "stratified" => Ok(Draw::Stratified),
        _ => Err("expected first, random, or stratified (of each class its share)".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(s) if s > 0.0 => Duration::try_from_secs_f64(s).map_err(|error| error.to_string()),
        _ => Err("expected a number of seconds above 0".to_owned()),
    }
}

fn radius(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(radius) if radius.is_finite() && radius >= 0.0 => Ok(radius),
        _ => Err("expected a number from 0, such as 0.01".to_owned()),
    }
}

fn per_second(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.001 => Ok(rate),
        _ => Err("expected a number of samples in a second, at least 0.001".to_owned()),
    }
}

fn bounds(text: &str) -> Result<Bounds, String> {
    let (low, high) = text
        .split_once(',')
        .and_then(|(low, high)| low.parse().ok().zip(high.parse().ok()))
        .ok_or("expected LOW,HIGH, as in 0,1")?;
    Bounds::new(low, high).map_err(|error| error.to_string())
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.0..=1.0).contains(&rate) => Ok(rate),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn rates_outside_the_unit_interval_are_refused() {
        for text in ["-0.1", "1.1", "NaN", "x", ""] {
            assert!(rate(text).is_err(), "{text}");
        }
        assert_eq!(rate("0.85"), Ok(0.85));
    }

    #[test]
    fn a_range_is_two_numbers_the_lower_first() {
        for text in ["", "1", "0,1,2", "1,0", "0,0", "0,NaN", "a,b"] {
            assert!(bounds(text).is_err(), "{text}");
        }
        assert_eq!(bounds("-1,1"), Ok(Bounds::new(-1.0, 1.0).unwrap()));
        for text in ["0", "-1", "inf", "NaN", "fast"] {
            assert!(per_second(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_timeout_is_positive() {
        for text in ["0", "-1", "NaN", "inf", "soon"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
    }
}
