//! What became of the samples, and what it cost.

use std::fmt;
use std::ops::AddAssign;

use assay_runtime::Class;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::{Flag, Reason};

/// Identity of a sample: keys its random stream, wherever and with whatever others it is attacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SampleId(pub u64);

impl fmt::Display for SampleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Misclassified without any attack; not attacked.
    Misclassified,
    /// Correct, and the attack ended, or spent its budget, without an adversarial sample: one that is misclassified, or predicted
    /// as its target where the goal has one.
    Robust,
    /// A verified adversarial sample was found.
    Broken,
    /// An adversarial sample was found whose prediction did not hold when it was evaluated again.
    Unstable,
    /// The attack was made from the sample, and not judged on it: it is in no denominator.
    Fitted,
    /// The sample could not be measured: the model failed on it, or the run was stopped before its attack ended. Never
    /// counted as robust.
    Error,
}

/// What was spent on the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Samples evaluated forward only, clean prediction and verification included.
    pub queries: u64,
    /// Samples evaluated forward and backward.
    pub gradients: u64,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.queries += other.queries;
        self.gradients += other.gradients;
    }
}

/// Distance of the adversarial sample from the clean one, in units of the model's input, computed in binary64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Distance {
    /// In the maximum norm.
    pub linf: f64,
    /// In the Euclidean norm.
    pub l2: f64,
    /// Sum of the absolute changes.
    pub l1: f64,
    /// Number of elements that differ.
    pub l0: u64,
}

/// What became of one sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleOutcome {
    /// Its identity.
    pub id: SampleId,
    /// Its true class.
    pub label: Class,
    /// The class that its prediction was to become, where the goal has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Class>,
    /// Class predicted for the clean sample (ties: the lowest); absent if the model failed on it.
    pub clean_prediction: Option<Class>,
    /// What became of it.
    pub outcome: Outcome,
    /// Class predicted for the adversarial sample on its own, where the outcome is broken or unstable.
    pub adversarial_prediction: Option<Class>,
    /// The attack that found the adversarial sample, where the outcome is broken or unstable: of an attack that consists of
    /// several, which.
    pub broken_by: Option<String>,
    /// Distance of the adversarial sample; 0 unless broken or unstable.
    pub distance: Distance,
    /// What was spent on it.
    pub cost: Cost,
    /// Steps at which the gradient was exactly zero, so that a random direction was taken: a sign of a masked gradient.
    pub zero_gradients: u64,
    /// Why it could not be measured, where the outcome is an error, or have its part in the attack, where it is fitted.
    pub error: Option<String>,
}

/// Result of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Attacked {
    /// One per sample, in order.
    pub outcomes: Vec<SampleOutcome>,
    /// `[n, features]`: the adversarial sample where the outcome is broken or unstable, else the clean one.
    pub adversarial: Array2<f32>,
    /// Summed over the samples.
    pub cost: Cost,
    /// What was spent beside the attack, on looking for flags.
    pub checks: Cost,
    /// How long the model took for each sample: its share of the calls that it was part of. No two runs agree on it.
    pub seconds: Vec<f64>,
    /// Signs that the result says less than it seems to, each kind at most once.
    pub flags: Vec<Flag>,
    /// Why some attack ended early; none: every attack ran to its end.
    pub stopped: Option<Reason>,
}

impl Attacked {
    /// Samples with this outcome.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.outcomes.iter().filter(|o| o.outcome == outcome).count()
    }
}

/// How far a run is. Counts never fall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Sample-steps done: evaluations of a sample by the attack. Those that a finished sample was spared count as done.
    pub steps_done: u64,
    /// The most there can be.
    pub steps_total: u64,
    /// Samples of the job.
    pub samples: u64,
    /// Samples that are not attacked any more.
    pub finished: u64,
    /// Samples that are misclassified from the start, or for which an adversarial sample was found (it is verified at the end).
    pub broken: u64,
}
