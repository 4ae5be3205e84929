//! What is said of gradients on the command line.

use std::path::PathBuf;

use clap::{Args as Group, ValueEnum};

use super::Data;

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
