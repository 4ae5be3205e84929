//! What is said of the commands that show what there is.

use clap::{Args as Group, Subcommand};

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
