//! What is said of certificates on the command line.

use std::time::Duration;

use assay_certify::Method;
use clap::Args as Group;

use super::{Data, seconds};
use crate::spec::ThreatArg;

#[derive(Debug, Group)]
pub(crate) struct Certify {
    /// Model, as NAME or NAME/VERSION
    pub(crate) model: String,

    #[command(flatten)]
    pub(crate) data: Data,

    /// What must not change a prediction: NORM:EPS in Linf, L2 or L1, for example Linf:2/255
    #[arg(long, value_name = "NORM:EPS")]
    pub(crate) threat: ThreatArg,

    /// Methods, asked from the cheapest on until one certifies a sample: ibp, crown-ibp, crown, alpha-crown (docs/certification.md)
    #[arg(long = "method", value_name = "METHOD,...", value_delimiter = ',', default_value = "crown")]
    pub(crate) methods: Vec<Method>,

    /// Ask every method about every sample
    #[arg(long)]
    pub(crate) all: bool,

    /// Stop after so many seconds; samples that were not finished are unknown
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) max_seconds: Option<Duration>,
}
