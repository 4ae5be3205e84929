//! Parameters that several attacks have.

use assay_graph::Loss;

use crate::param::{Arguments, Choice, Decimal, Integer, ParamKind};
use crate::{Keep, ParamError, Start};

pub(crate) const RESTARTS: Integer = Integer {
    name: "restarts",
    default: 1,
    min: 1,
    max: 1_000,
    doc: "Random starting points that are tried one after the other, until one succeeds.",
};
pub(crate) const RANDOM_START: Choice<Start> = Choice {
    name: "random_start",
    default: Start::Random,
    options: &[Start::Random, Start::Image],
    word: |start| if start == Start::Random { "true" } else { "false" },
    kind: ParamKind::Boolean,
    doc: "Whether a restart begins at a random point of the ball; if not, at the image itself.",
};
pub(crate) const LOSS: Choice<Loss> = Choice {
    name: "loss",
    default: Loss::CrossEntropy,
    options: &[Loss::CrossEntropy, Loss::Margin, Loss::Dlr],
    word: Loss::name,
    kind: ParamKind::Choice,
    doc: "Loss that is maximised.",
};
pub(crate) const QUERIES: Integer = Integer {
    name: "queries",
    default: 5_000,
    min: 1,
    max: 1_000_000,
    doc: "Forward evaluations of each sample, at most.",
};
pub(crate) const TARGETS: Integer = Integer {
    name: "targets",
    default: 9,
    min: 1,
    max: 999,
    doc: "Classes that are tried, the most likely for the clean sample first; no more than the model has besides the label.",
};

pub(crate) const EOT: Integer = Integer {
    name: "eot",
    default: 1,
    min: 1,
    max: 1_000,
    doc: "Evaluations of each point whose mean is followed (expectation over transformation): for models that answer at random.",
};

/// For attacks that are one perturbation for all samples.
pub(crate) const FIT: Decimal = Decimal {
    name: "fit",
    default: 0.5,
    min: 0.01,
    max: 0.99,
    doc: "Share of the samples of a request that it is made from, the first ones. They are not judged, and are in no denominator.",
};

/// For attacks that look for the nearest adversarial point.
pub(crate) const KEEP_NEAREST: Choice<Keep> = Choice {
    name: "keep",
    default: Keep::Nearest,
    options: &[Keep::Nearest, Keep::First],
    word: Keep::name,
    kind: ParamKind::Choice,
    doc: "The adversarial sample that is kept: of all the nearest, or the first inside the threat, which ends the sample's attack.",
};

/// For attacks that climb a loss.
pub(crate) const KEEP_FIRST: Choice<Keep> = Choice {
    name: "keep",
    default: Keep::First,
    options: &[Keep::First, Keep::Best],
    word: Keep::name,
    kind: ParamKind::Choice,
    doc: "The adversarial sample that is kept: the first, which ends the sample's attack, or of all the one with the largest margin.",
};

/// Whether an attack with this loss can be aimed at a class.
pub(crate) fn aims(loss: Loss) -> Result<(), String> {
    if loss.of_label() == Loss::Dlr {
        return Err(format!(
            "the loss \"{loss}\" does not change where the target has the third largest logit; expected a margin or the cross-entropy, for example apgd:loss=margin"
        ));
    }
    Ok(())
}

/// Refuses restarts that would all be the same.
pub(crate) fn starts_differ(arguments: &Arguments<'_>, start: Start, restarts: u32) -> Result<(), ParamError> {
    if start == Start::Random || restarts == 1 {
        return Ok(());
    }
    let expected = "1 with random_start = false, because every restart would be the same".to_owned();
    Err(arguments.invalid(RESTARTS.name, &restarts.to_string(), expected))
}
