//! What happens in an audit. A report is a fold over these events, so that a stored run can be rendered again later.

use std::fmt;

use assay_attack::{Distance, Eps, Norm};
use assay_runtime::Gradients;
use serde::{Deserialize, Serialize};

use crate::plan::Plan;

/// One step of an audit, complete in itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// First event: what is going to be measured, on what, with what.
    Started {
        /// What is needed to repeat it.
        setup: Box<Setup>,
        /// True class of each sample.
        labels: Vec<u32>,
    },
    /// A model classified all samples without attack.
    Clean(Clean),
    /// One attack of one evaluation ended for one model.
    Attacked(Attacked),
    /// Something that the reader must know before trusting the numbers.
    Finding(Finding),
    /// An adversarial sample worth showing.
    Example(Box<Example>),
    /// Last event: everything was measured.
    Finished,
}

/// All that is needed to repeat an audit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// The plan as it was given.
    pub plan: Plan,
    /// The models in the plan's order; the first is the baseline.
    pub models: Vec<ModelFacts>,
    /// The data.
    pub data: DataFacts,
    /// The plan's evaluations with all parameters, defaults included.
    pub threats: Vec<ThreatFacts>,
    /// Where it ran.
    pub environment: Environment,
}

/// What is known of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// Name in the repository.
    pub name: String,
    /// Version.
    pub version: String,
    /// Hexadecimal SHA-256 of its file.
    pub digest: String,
    /// What it is: `dense`, `filter-pruned`, ...; empty if unknown.
    pub kind: String,
    /// Elements of all weights.
    pub parameters: u64,
    /// Execution provider that ran it.
    pub provider: String,
    /// How its derivative is known.
    pub gradients: GradientFacts,
}

/// How the derivative of a model is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum GradientFacts {
    /// Exactly.
    Exact,
    /// Estimated at some nodes.
    StraightThrough {
        /// Those nodes.
        nodes: Vec<String>,
    },
    /// Not at all.
    Unavailable {
        /// The operator and node that stand in the way.
        reason: String,
    },
}

impl From<&Gradients> for GradientFacts {
    fn from(gradients: &Gradients) -> Self {
        match gradients {
            Gradients::Exact => Self::Exact,
            Gradients::StraightThrough(nodes) => Self::StraightThrough { nodes: nodes.clone() },
            Gradients::Unavailable(reason) => Self::Unavailable { reason: reason.clone() },
        }
    }
}

/// For people: `exact gradients`.
impl fmt::Display for GradientFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("exact gradients"),
            Self::StraightThrough { nodes } if nodes.len() == 1 => f.write_str("gradients estimated at 1 node"),
            Self::StraightThrough { nodes } => write!(f, "gradients estimated at {} nodes", nodes.len()),
            Self::Unavailable { .. } => f.write_str("no gradients"),
        }
    }
}

/// What is known of the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataFacts {
    /// Name.
    pub name: String,
    /// Hexadecimal SHA-256; empty if unknown.
    pub digest: String,
    /// Shape of one sample.
    pub sample_shape: Vec<usize>,
    /// Class names; empty if unknown.
    pub class_names: Vec<String>,
    /// Number of classes that the models tell apart.
    pub classes: u32,
    /// Number of samples.
    pub samples: u64,
}

/// One evaluation: a threat and the attacks that stand for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThreatFacts {
    /// Norm of the perturbation.
    pub norm: Norm,
    /// Its largest length, in units of the model's input.
    pub eps: Eps,
    /// The attacks in order.
    pub attacks: Vec<AttackFacts>,
}

impl ThreatFacts {
    /// Norm and radius, for example `Linf 8/255`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} {}", self.norm, self.eps)
    }
}

/// An attack with every parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttackFacts {
    /// Name in the registry.
    pub name: String,
    /// Parameters by name, defaults included, as text.
    pub parameters: Vec<(String, String)>,
}

/// Where and when an audit ran. Passed in by the caller: the audit itself only measures how long its work takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Version of assay.
    pub assay: String,
    /// Version of ONNX Runtime.
    pub onnxruntime: String,
    /// Date and time of the start, as the caller writes it (RFC 3339, UTC).
    pub date: String,
}

/// Position of a model in [`Setup::models`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelId(pub u32);

/// Position of an evaluation in [`Setup::threats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ThreatId(pub u32);

/// Predictions without attack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clean {
    /// The model.
    pub model: ModelId,
    /// Predicted class of each sample; `null` where the logits are not finite.
    pub predictions: Vec<Option<u32>>,
    /// What was spent.
    pub cost: Cost,
}

/// Outcome of one attack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attacked {
    /// The model.
    pub model: ModelId,
    /// The evaluation.
    pub threat: ThreatId,
    /// Position of the attack within the evaluation.
    pub attack: u32,
    /// Positions of the attacked samples in the data, rising, and what became of them.
    pub outcomes: Vec<(u64, Fate)>,
    /// What was spent.
    pub cost: Cost,
}

/// What an attack did to a sample's prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// The prediction is the clean one still.
    Held,
    /// A verified adversarial sample changes it.
    Changed,
    /// An adversarial sample was found but its prediction did not hold when it was evaluated again.
    Unstable,
    /// The model or the attack failed on the sample.
    Error,
}

/// What was spent on a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Samples evaluated forward only.
    pub queries: u64,
    /// Samples evaluated forward and backward.
    pub gradients: u64,
    /// Wall time.
    pub seconds: f64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.queries += other.queries;
        self.gradients += other.gradients;
        self.seconds += other.seconds;
    }
}

/// A reason to doubt a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The model it is about.
    pub model: ModelId,
    /// What was found.
    pub kind: FindingKind,
    /// Samples that show it.
    pub hits: u64,
    /// Samples that were looked at.
    pub of: u64,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// The gradient of the loss is zero in every element: gradient attacks see nothing, so their robust accuracy says nothing.
    ZeroGradients,
    /// They withstood attacks that follow an estimate of the gradient, not the gradient.
    StraightThrough,
    /// The model or an attack failed.
    Errors,
    /// Predictions of adversarial samples did not hold when they were evaluated again.
    Unstable,
}

impl FindingKind {
    /// Name in plan files and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ZeroGradients => "zero-gradients",
            Self::StraightThrough => "straight-through",
            Self::Errors => "errors",
            Self::Unstable => "unstable",
        }
    }

    /// What it means for the reader, and what to do.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::ZeroGradients => {
                "the loss has a gradient of exactly zero: gradient attacks see nothing there, so robust accuracy may be \
                 overstated; add an attack that needs no gradient, or look for saturated or quantised layers"
            }
            Self::StraightThrough => {
                "they withstood attacks whose gradient is estimated straight through rounding or the like, so robust \
                 accuracy may be overstated; add an attack that needs no gradient, or attack with samples found on the \
                 model before it was quantised"
            }
            Self::Errors => "the model or an attack failed: these samples count as not robust; see the log",
            Self::Unstable => {
                "predictions changed between two evaluations of the same input: these samples count as not robust; look \
                 for randomness in the model"
            }
        }
    }
}

/// An adversarial sample, to look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// The model.
    pub model: ModelId,
    /// The evaluation.
    pub threat: ThreatId,
    /// Position of the attack within the evaluation.
    pub attack: u32,
    /// Position of the sample in the data.
    pub sample: u64,
    /// True class.
    pub label: u32,
    /// Class predicted for the original.
    pub clean_prediction: u32,
    /// Class predicted for the adversarial sample.
    pub adversarial_prediction: u32,
    /// Distance from the original.
    #[serde(flatten)]
    pub distance: Distance,
    /// Pictures, if samples are images.
    pub pictures: Option<Pictures>,
}

/// Three pictures of the same size, each a base64 PNG.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pictures {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// The sample.
    pub original: String,
    /// Mid-grey plus the perturbation times `amplification`.
    pub perturbation: String,
    /// The adversarial sample.
    pub adversarial: String,
    /// Factor that lets all but the largest hundredth of the changes fit between black and white.
    pub amplification: f64,
}
