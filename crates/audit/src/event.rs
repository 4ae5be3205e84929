//! What happens in an audit. A report is a fold over these events, so that a stored run can be rendered again later.

use std::fmt;

use assay_attack::{Cost, Distance, Eps, Flag, Norm};
use assay_certify::Method;
use assay_runtime::Gradients;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::baseline::Accepted;
use crate::plan::{Order, Plan};
use crate::report::schema;
use crate::schedule::Shard;

/// One step of an audit, complete in itself. After the first, each carries what one [`Step`](crate::Step) of the schedule found, in its order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// First event: what is going to be measured, on what, with what.
    Started(Box<Started>),
    /// A model classified a chunk of samples without attack.
    Clean(Clean),
    /// One attack of one evaluation ended for one model on a chunk of samples.
    Attacked(Attacked),
    /// A chunk of samples was certified for one model against one threat.
    Certified(Certified),
    /// Two models predicted a sample in turn, again and again.
    Timed(Latency),
    /// Last event: everything was measured.
    Finished,
}

/// What is going to be measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// What is needed to repeat it.
    pub setup: Setup,
    /// True class of each sample.
    pub labels: Vec<u32>,
    /// Position of each sample in the whole data set; empty: they are its first ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub positions: Vec<u64>,
    /// Under which circumstances it began. Nothing that is measured depends on them.
    pub circumstances: Circumstances,
}

impl Started {
    /// The first thing in which two beginnings of one audit differ, whatever their shards and circumstances.
    pub(crate) fn differs_from(&self, other: &Self) -> Option<&'static str> {
        let (a, b) = (&self.setup, &other.setup);
        let differences = [
            ("the plan", a.plan != b.plan || a.threats != b.threats),
            ("a model", a.models != b.models),
            ("the baseline", a.baseline != b.baseline),
            ("the data set", a.data != b.data || self.labels != other.labels || self.positions != other.positions),
            ("the version of assay or of ONNX Runtime", a.environment != b.environment || a.chunk != b.chunk),
        ];
        differences.into_iter().find_map(|(what, differs)| differs.then_some(what))
    }
}

/// When and on what an audit began: what two runs with the same results may differ in. Passed in by the caller, for the audit itself only measures how
/// long its work takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Circumstances {
    /// Date and time (RFC 3339, UTC).
    pub date: String,
    /// Threads of one session.
    pub threads: u32,
    /// Sessions of each model.
    pub sessions: u32,
    /// Most samples in one call of a model.
    pub batch: u32,
}

/// All that is needed to repeat an audit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Setup {
    /// The plan as it was given.
    pub plan: Plan,
    /// The models in the plan's order; the first is the baseline.
    pub models: Vec<ModelFacts>,
    /// The data.
    pub data: DataFacts,
    /// The threats of the plan's evaluations with all parameters, defaults included.
    pub threats: Vec<ThreatFacts>,
    /// Samples of a chunk; the last one may have fewer.
    pub chunk: u32,
    /// The part of the samples that was measured; all, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// The model of an accepted report that the only model of the plan is compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Accepted>,
    /// With what it was measured.
    pub environment: Environment,
}

/// What is known of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThreatFacts {
    /// Its own name, where the plan gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Norm of the perturbation.
    #[schemars(schema_with = "schema::norm")]
    pub norm: Norm,
    /// Its largest length, in units of the model's input.
    #[schemars(with = "String")]
    pub eps: Eps,
    /// The attacks in order.
    pub attacks: Vec<AttackFacts>,
    /// Which samples each of them attacks.
    pub order: Order,
}

impl ThreatFacts {
    /// Its name, or norm and radius, for example `Linf 8/255`.
    #[must_use]
    pub fn title(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("{} {}", self.norm, self.eps))
    }
}

/// An attack with every parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttackFacts {
    /// Name in the registry.
    pub name: String,
    /// Parameters by name, defaults included, as text.
    pub parameters: Vec<(String, String)>,
}

/// With what an audit was made: other versions may give other numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    /// Version of assay.
    pub assay: String,
    /// Version of ONNX Runtime.
    pub onnxruntime: String,
    /// How far ONNX Runtime rewrites graphs before it runs them.
    pub optimization: String,
}

/// Position of a model in [`Setup::models`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ModelId(pub u32);

/// Position of an evaluation in [`Setup::threats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ThreatId(pub u32);

/// Predictions without attack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clean {
    /// The model.
    pub model: ModelId,
    /// Which chunk of samples.
    pub chunk: u32,
    /// Predicted class of each sample; `null` where the logits are not finite.
    pub predictions: Vec<Option<u32>>,
    /// What was spent.
    pub cost: Cost,
    /// Wall time.
    pub seconds: f64,
}

/// How long two models took for predictions of one sample, in turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The second of the two.
    pub model: ModelId,
    /// Which chunk the sample is from.
    pub chunk: u32,
    /// Seconds of the first and of the second model, round by round.
    pub rounds: Vec<[f64; 2]>,
    /// What was spent.
    pub cost: Cost,
    /// Wall time.
    pub seconds: f64,
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
    /// Which chunk of samples.
    pub chunk: u32,
    /// What became of the samples that it attacked, which are those that the events before left, in order.
    pub outcomes: Vec<SampleResult>,
    /// Signs that these say less than they seem to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Flag>,
    /// Adversarial samples to look at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Example>,
    /// What was spent.
    pub cost: Cost,
    /// What was spent beside the attack, on looking for flags; it depends on the size of batches.
    pub checks: Cost,
    /// Wall time.
    pub seconds: f64,
}

/// What certificates prove of a chunk of samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certified {
    /// The model.
    pub model: ModelId,
    /// The evaluation.
    pub threat: ThreatId,
    /// Which chunk of samples.
    pub chunk: u32,
    /// One for each sample that the model classifies correctly, in order.
    pub proofs: Vec<SampleProof>,
    /// Wall time.
    pub seconds: f64,
}

/// What is proved of one sample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleProof {
    /// Position of the sample in the data.
    pub sample: u64,
    /// What it is.
    #[serde(flatten)]
    pub proof: Proof,
}

/// What is proved of a sample that is classified correctly. Bounds are not kept: they may differ in their last digits from machine to machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "proof", rename_all = "kebab-case")]
pub enum Proof {
    /// Nothing within the threat changes its prediction.
    Certified {
        /// The cheapest method that, with those before it, says so.
        by: Method,
    },
    /// The bounds are too loose.
    Unknown,
    /// It could not be bounded.
    Failed {
        /// Why.
        error: String,
    },
}

/// What an attack did to one sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SampleResult {
    /// Position of the sample in the data.
    pub sample: u64,
    /// What became of its prediction.
    pub fate: Fate,
    /// What changed it, if something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Found>,
    /// Why it could not be measured, if it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A verified adversarial sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Found {
    /// Class predicted for it.
    pub prediction: u32,
    /// Class that the plan's other model predicts for it, where the plan shows it and that model's logits are finite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<u32>,
    /// The attack that found it: of a suite, which of its parts.
    pub by: String,
    /// Distance from the original.
    #[serde(flatten)]
    #[schemars(with = "schema::Distance")]
    pub distance: Distance,
}

/// What an attack did to a sample's prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// An adversarial sample, to look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    #[schemars(with = "schema::Distance")]
    pub distance: Distance,
    /// Pictures, if samples are images.
    pub pictures: Option<Pictures>,
}

/// Three pictures of the same size, each a base64 PNG.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
