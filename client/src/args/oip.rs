//! What is said of a model on another server.

use std::num::NonZeroUsize;

use assay_attack::Bounds;
use clap::Args as Group;

use super::values::{bounds, per_second};

/// Heading of these options.
const OIP: &str = "Options where a MODEL is oip://HOST:PORT/NAME (oips:// with TLS), on a server that speaks the Open Inference Protocol";

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
