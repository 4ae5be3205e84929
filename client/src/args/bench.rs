//! What is said of the load generator on the command line.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args as Group;

use super::Data;
use super::values::{per_second, seconds};

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
