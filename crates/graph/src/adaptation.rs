//! What was changed in a model between its file and what is hosted.

use std::fmt;

use crate::{DataType, Value};

/// One change that somebody who reads a result should know of. Its text, by `Display`, is one sentence without a full stop.
///
/// Changes of form only, such as another version of the operator set, are not among them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Adaptation {
    /// Local functions were replaced by what they consist of.
    FunctionsInlined {
        /// Their names, each once, in the order of their first call.
        functions: Vec<String>,
    },
    /// `If` nodes with a constant condition were replaced by the branch that is taken.
    BranchesTaken {
        /// Names of the nodes.
        nodes: Vec<String>,
    },
    /// The file fixes the batch size; the hosted model takes any.
    BatchOpened {
        /// The batch size in the file.
        fixed: usize,
    },
    /// The file fixes the batch size, and the hosted model still does: smaller batches are filled up.
    BatchKept {
        /// The batch size.
        fixed: usize,
        /// Why it could not be opened.
        reason: String,
    },
    /// A final `Softmax` or `LogSoftmax` was cut off: the logits are its input.
    SoftmaxCut {
        /// Name of the node.
        node: String,
        /// Its operator.
        operator: String,
    },
    /// The logits have further dimensions of size 1 in the file, which were taken off.
    LogitsFlattened {
        /// The output.
        output: Value,
        /// Its shape in the file, without the batch.
        dims: Vec<usize>,
    },
    /// The file has several outputs, and one was chosen as logits.
    OutputChosen {
        /// The chosen one.
        output: Value,
        /// The others.
        others: Vec<Value>,
    },
    /// The file's input holds 8-bit integers; the hosted model takes f32 and rounds it to them.
    InputRounded {
        /// The file's type.
        to: DataType,
    },
    /// Derivatives are computed in f32, although the file's model computes in a shorter type.
    DerivativesWidened {
        /// The file's type.
        from: DataType,
    },
    /// The hosted model computes in f32 also in its forward pass, because the runtime has no kernels for the file's type: it could
    /// not be compared with its file.
    Widened {
        /// The file's type.
        from: DataType,
    },
}

impl fmt::Display for Adaptation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FunctionsInlined { functions } => write!(f, "local functions inlined: {}", functions.join(", ")),
            Self::BranchesTaken { nodes } => {
                write!(f, "If nodes with a constant condition replaced by the branch taken: {}", nodes.join(", "))
            }
            Self::BatchOpened { fixed } => write!(f, "fixed batch size {fixed} opened: batches of any size run"),
            Self::BatchKept { fixed, reason } => {
                write!(f, "fixed batch size {fixed} kept, smaller batches are filled up: {reason}")
            }
            Self::SoftmaxCut { node, operator } => {
                write!(f, "final {operator} \"{node}\" cut off: the logits are its input")
            }
            Self::LogitsFlattened { output, dims } => {
                let classes: usize = dims.iter().product();
                let dims: Vec<String> = dims.iter().map(usize::to_string).collect();
                write!(f, "output \"{output}\" [batch, {}] flattened to [batch, {classes}]", dims.join(", "))
            }
            Self::OutputChosen { output, others } => {
                let others: Vec<String> = others.iter().map(|value| format!("\"{value}\"")).collect();
                write!(f, "output \"{output}\" taken as logits; not computed: {}", others.join(", "))
            }
            Self::InputRounded { to } => write!(f, "input of {to:?} takes f32, which is rounded to it"),
            Self::DerivativesWidened { from } => write!(f, "derivatives computed in f32, the forward pass in {from:?}"),
            Self::Widened { from } => {
                write!(
                    f,
                    "computed in f32 and not compared with the file: the runtime has no kernels for some operators in {from:?}"
                )
            }
        }
    }
}
