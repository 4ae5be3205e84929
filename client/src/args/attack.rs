//! What is said of attacks on the command line, and of what else an adversary does.

use std::path::PathBuf;
use std::time::Duration;

use assay_attack::Norm;
use clap::Args as Group;

use super::values::{radius, seconds};
use super::{Data, Oip};
use crate::spec::{AttackArg, TargetArg, ThreatArg};

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
