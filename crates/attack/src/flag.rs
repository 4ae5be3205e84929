//! Signs that a result says less than it seems to.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Share of the samples that attacks without gradients may break after those with, before it says something about the gradients.
pub const BLACK_BOX_SHARE: f64 = 0.002;

/// A sign that a result says less than it seems to: above all that robustness may be overestimated.
///
/// After the checks of AutoAttack (Croce and Hein, 2020), of Carlini et al. (On Evaluating Adversarial Robustness, 2019), and
/// the indicators of Pintor et al. (Indicators of Attack Failure, NeurIPS 2022).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlagKind {
    /// The same batch gave other logits.
    RandomizedOutput,
    /// A sample gave other logits alone than in a batch.
    BatchDependentOutput,
    /// The outputs are probabilities.
    Probabilities,
    /// The model has no gradient, and none was needed.
    NoGradient,
    /// Gradients are estimates past rounding.
    StraightThrough,
    /// Gradients were exactly zero.
    ZeroGradient,
    /// Logits or gradients were not finite.
    NotFinite,
    /// Too few classes for a loss: another one was used.
    TooFewClasses,
    /// The loss still rose when the attack ended.
    IncompleteOptimization,
    /// An attack that is not bounded by eps fails too.
    UnconstrainedAttackFails,
    /// An attack without gradients broke what attacks with gradients did not.
    BlackBoxStronger,
    /// What was found on another model broke what attacks on this one did not. Raised by audits that show it.
    TransferStronger,
    /// A point on the way was adversarial, and the sample counts as robust.
    SilentSuccess,
    /// Adversarial samples were not adversarial when they were evaluated again.
    UnstablePredictions,
    /// Samples had spent what they were allowed to.
    BudgetSpent,
    /// A sample that is certified was broken. Raised by audits that certify.
    CertificateViolated,
}

/// What is said of a kind of flag.
struct Text {
    name: &'static str,
    cause: &'static str,
    meaning: &'static str,
    remedy: &'static str,
}

impl FlagKind {
    /// All of them, in the order they are reported in.
    pub const ALL: [Self; 16] = [
        Self::RandomizedOutput,
        Self::BatchDependentOutput,
        Self::Probabilities,
        Self::NoGradient,
        Self::StraightThrough,
        Self::ZeroGradient,
        Self::NotFinite,
        Self::TooFewClasses,
        Self::IncompleteOptimization,
        Self::UnconstrainedAttackFails,
        Self::BlackBoxStronger,
        Self::TransferStronger,
        Self::SilentSuccess,
        Self::UnstablePredictions,
        Self::BudgetSpent,
        Self::CertificateViolated,
    ];

    /// The name users see.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.text().name
    }

    /// What raises it.
    #[must_use]
    pub fn cause(self) -> &'static str {
        self.text().cause
    }

    /// What it means for the result.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        self.text().meaning
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        self.text().remedy
    }

    fn text(self) -> Text {
        match self {
            Self::RandomizedOutput => Text {
                name: "randomized-output",
                cause: "The same batch was evaluated twice, and normalised logits differ by more than 1e-4 or a class differs.",
                meaning: "Every gradient and every verdict is a draw: a lucky draw counts as robust or as broken.",
                remedy: "Use `autoattack-rand`, or raise `eot` of apgd and pgd; export the model without its random operators if they are left over from training.",
            },
            Self::BatchDependentOutput => Text {
                name: "batch-dependent-output",
                cause: "A sample was evaluated alone and in a batch, and its logits differ in some bit.",
                meaning: "Calls are filled up to one size, so that the number of samples decides nothing. Another batch size may still give another result in samples at the edge, and so may other samples, if the model mixes them.",
                remedy: "None is needed for differences of rounding, which verification alone and in a batch covers; if classes differ, the model mixes its samples: look for a normalisation or a quantisation over the batch.",
            },
            Self::Probabilities => Text {
                name: "probabilities",
                cause: "The outputs of every clean sample lie in [0, 1] and add up to 1.",
                meaning: "The model ends in a softmax that could not be cut off: losses saturate and gradients vanish where it is confident.",
                remedy: "Export the model so that it ends in its logits.",
            },
            Self::NoGradient => Text {
                name: "no-gradient",
                cause: "The model has no gradient, and the attack asks for none.",
                meaning: "Only a black-box attack was run; a model that withstands it is not shown to be robust.",
                remedy: "`assay models inspect` names the operator in the way; export the model without it, or attack a surrogate and transfer.",
            },
            Self::StraightThrough => Text {
                name: "straight-through",
                cause: "The model rounds on the way from input to logits, and its gradient is an estimate that passes there.",
                meaning: "What was found is real, since the rounding model verified it; what was not found says less than with exact gradients.",
                remedy: "Add square to the attacks, and attack the model as it was before quantisation and transfer.",
            },
            Self::ZeroGradient => Text {
                name: "zero-gradient",
                cause: "At some step the gradient of a robust sample was exactly zero; a random direction was taken.",
                meaning: "The gradient is masked there, by saturation, rounding or a dead region: the attack was blind.",
                remedy: "Use a loss on the logits that does not saturate (margin, dlr), a random start, and square.",
            },
            Self::NotFinite => Text {
                name: "not-finite",
                cause: "The model answered a sample with logits or a gradient that is not finite.",
                meaning: "These samples could not be measured: they count as errors, never as robust.",
                remedy: "Look for overflow (fp16), division by zero or a logarithm of zero in the model.",
            },
            Self::TooFewClasses => Text {
                name: "too-few-classes",
                cause: "A loss needs more classes than the model has, and the attack used another one.",
                meaning: "The result is not comparable with a published one of the same attack.",
                remedy: "None: with so few classes the published attack is not defined.",
            },
            Self::IncompleteOptimization => Text {
                name: "incomplete-optimization",
                cause: "In every ascent on a robust sample the best loss rose by more than 5 % of its range in the last 10 steps (or the second half, if there were fewer than 20).",
                meaning: "With more steps the attack may break it.",
                remedy: "Raise `steps`, or the step size; apgd adapts its own.",
            },
            Self::UnconstrainedAttackFails => Text {
                name: "unconstrained-attack-fails",
                cause: "Gradient ascent that may reach every valid input, on up to 8 of the robust samples, left some of them correct.",
                meaning: "The attack cannot follow the gradient at all, since valid inputs of other classes exist: its failure is no robustness.",
                remedy: "Look at the other flags; use another loss, more steps, or square.",
            },
            Self::BlackBoxStronger => Text {
                name: "black-box-stronger",
                cause: "Of the samples that withstood the attacks with gradients, one without broke more than 0.2 % of all.",
                meaning: "Gradients are masked, and attacks with gradients overestimate the robustness of this model.",
                remedy: "Trust the worst case only; raise the queries of square; adapt the loss to the model.",
            },
            Self::TransferStronger => Text {
                name: "transfer-stronger",
                cause: "Of the samples that withstood all attacks on this model, those that were found on the other one mislead it on more than 0.2 % of all.",
                meaning: "The attacks on this model overlook what another model shows: its gradients are masked, or the attacks are too weak.",
                remedy: "Trust the accuracy under both; add stronger attacks, with other losses and square, until they find these samples themselves.",
            },
            Self::SilentSuccess => Text {
                name: "silent-success",
                cause: "A point inside the threat was misclassified in some evaluation of a sample that counts as robust.",
                meaning: "The sample is broken in some draws of a randomised model. For a deterministic one it would be a defect of assay.",
                remedy: "Count these samples as broken for an adversary who may try several times.",
            },
            Self::UnstablePredictions => Text {
                name: "unstable-predictions",
                cause: "What was found was not adversarial, or of another class, when it was evaluated again, alone or in a batch.",
                meaning: "These samples lie on the boundary, or the model is randomised: they are counted apart, neither as robust nor as broken.",
                remedy: "Treat them as broken when you gate; see randomized-output and batch-dependent-output for the reason.",
            },
            Self::BudgetSpent => Text {
                name: "budget-spent",
                cause: "Samples had spent their queries or gradients before the attack had ended.",
                meaning: "They count as robust against this budget only.",
                remedy: "Raise the budget, if the adversary has a larger one.",
            },
            Self::CertificateViolated => Text {
                name: "certificate-violated",
                cause: "An adversarial sample was found, and verified, within a radius in which nothing was proved to change the prediction.",
                meaning: "One of the two is wrong, so that neither the certificates nor the attacks of this audit can be relied on: it fails.",
                remedy: "Look whether the model is randomised, or mixes its samples (other flags say so); else it is a defect of assay: please report it with the model.",
            },
        }
    }
}

impl fmt::Display for FlagKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A flag that a run raised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flag {
    /// What it is.
    pub kind: FlagKind,
    /// Samples that show it; 0: the model as a whole does.
    pub samples: u64,
    /// What was seen, in one line.
    pub detail: String,
}
