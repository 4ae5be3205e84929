//! What is said of training on the command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args as Group;

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
