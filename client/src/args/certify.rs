//! What is said of certificates on the command line.

use std::path::PathBuf;
use std::time::Duration;

use assay_audit::Certification;
use assay_certify::Method;
use clap::Args as Group;

use super::Data;
use super::values::seconds;
use crate::spec::ThreatArg;

/// Certificates of an audit.
#[derive(Debug, Group)]
pub(crate) struct Certifying {
    /// Certify samples too, against every threat in Linf, L2 or L1 with a finite radius, by these methods: ibp, crown-ibp, crown, alpha-crown
    #[arg(long, value_name = "METHOD,...", value_delimiter = ',', num_args = 0..=1, require_equals = true, default_missing_value = "crown")]
    pub(crate) certify: Vec<Method>,
}

impl Certifying {
    /// What a plan says of it.
    pub(crate) fn planned(&self) -> Option<Certification> {
        (!self.certify.is_empty()).then(|| Certification { methods: self.certify.clone(), threats: None })
    }
}

#[derive(Debug, Group)]
pub(crate) struct Certify {
    /// Model, as NAME or NAME/VERSION
    pub(crate) model: String,

    #[command(flatten)]
    pub(crate) data: Data,

    /// What must not change a prediction: NORM:EPS in Linf, L2 or L1, for example Linf:2/255
    #[arg(long, value_name = "NORM:EPS", required_unless_present = "vnnlib")]
    pub(crate) threat: Option<ThreatArg>,

    /// Look for an input that violates the property in this file, in the format of the verification competitions, and for a proof that there is none, in the
    /// place of certifying samples: prints unsat, sat with the input, or unknown (exit codes 0, 1 and 4)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["threat", "data", "methods", "all"])]
    pub(crate) vnnlib: Option<PathBuf>,

    /// Methods, asked from the cheapest on until one certifies a sample: ibp, crown-ibp, crown, alpha-crown (docs/certification.md)
    #[arg(long = "method", value_name = "METHOD,...", value_delimiter = ',', default_value = "crown")]
    pub(crate) methods: Vec<Method>,

    /// Ask every method about every sample
    #[arg(long)]
    pub(crate) all: bool,

    /// Stop after so many seconds; samples that were not finished are unknown [default with --vnnlib: 60]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) max_seconds: Option<Duration>,

    /// Seed of what looks for a violation
    #[arg(long, requires = "vnnlib", default_value_t = 0)]
    pub(crate) seed: u64,
}
