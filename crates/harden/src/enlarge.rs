//! Larger feature maps, before a net is trained with them (Xu et al., *Understanding Adversarial Robustness from Feature Maps of
//! Convolutional Layers*, arXiv 2202.12435).

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use assay_graph::{Interpolation, Model, Restride, Shaped, Stride, UnitPool, restride, stride_string, upsample};
use serde::{Deserialize, Serialize};

use crate::{ModelSpec, RecipeError, TrainError};

/// A larger input, inside the net and behind its normalisation: who attacks the model perturbs images at the size that they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpsampleSpec {
    /// How many times as long each side becomes, at least 2.
    pub factor: NonZeroUsize,
    /// How positions between those of the image are filled.
    #[serde(default)]
    pub mode: UpsampleMode,
}

/// How positions between those of an image are filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpsampleMode {
    /// Each position becomes a block.
    #[default]
    Nearest,
    /// Linear between the centres of positions.
    Linear,
}

/// Other strides: a string of digits, or nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestrideSpec {
    /// A digit for each slot of the architecture; of a file for each place where maps shrink, which may have a 1 before them for a first stage
    /// that shrinks nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strides: Option<String>,
    /// The stride of each of these nodes: convolutions and pools, by their name or that of their output.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nodes: BTreeMap<String, NonZeroUsize>,
    /// What becomes of pools that get a stride of 1. An architecture's string needs none: each has its own rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pools: Option<PoolSpec>,
}

/// What becomes of a pool that gets a stride of 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PoolSpec {
    /// It is left out, as in the paper's VGG.
    Removed,
    /// It stays, as in the paper's AlexNet.
    Kept,
}

impl UpsampleSpec {
    pub(crate) fn check(&self) -> Result<(), RecipeError> {
        match self.factor.get() {
            2..=MOST => Ok(()),
            _ => Err(RecipeError::Value { field: "upsample.factor".into(), expected: format!("2 to {MOST}") }),
        }
    }

    pub(crate) fn apply(&self, source: &Shaped) -> Result<Model, TrainError> {
        let mode = match self.mode {
            UpsampleMode::Nearest => Interpolation::Nearest,
            UpsampleMode::Linear => Interpolation::Linear,
        };
        Ok(upsample(source, self.factor, mode)?)
    }
}

/// Largest factor: a net has its square times the work.
const MOST: usize = 16;

impl RestrideSpec {
    pub(crate) fn check(&self, model: &ModelSpec) -> Result<(), RecipeError> {
        let wrong = |field: &str, expected: &str| {
            Err(RecipeError::Value { field: field.to_owned(), expected: expected.to_owned() })
        };
        if self.strides.is_some() != self.nodes.is_empty() {
            return wrong("restride", "either `strides`, as in \"1122\", or `nodes`, as in { conv2 = 1 }");
        }
        match model {
            ModelSpec::Fresh(fresh) if self.strides.is_some() && fresh.strides.is_some() => {
                wrong("model.strides", "none, because [restride] has `strides`")
            }
            ModelSpec::Fresh(_) if self.strides.is_some() && self.pools.is_some() => {
                wrong("restride.pools", "none: the architecture says what becomes of its pools")
            }
            _ => Ok(()),
        }
    }

    /// `source` with the strides. Those of an architecture are not for here: it is built with them.
    pub(crate) fn apply(&self, source: &Shaped) -> Result<Model, TrainError> {
        let mut edits = match &self.strides {
            Some(text) => stride_string(source, text, UnitPool::Kept)?,
            None => self.nodes.iter().map(|(name, &stride)| named(source, name, stride)).collect::<Result<_, _>>()?,
        };
        for edit in &mut edits {
            let mut nodes = source.model().graph.nodes.iter();
            let is_pool = nodes.any(|node| node.output(0) == Some(&edit.output) && node.operator != "Conv");
            if !is_pool || edit.to != Stride::By(NonZeroUsize::MIN) {
                continue;
            }
            match self.pools {
                Some(PoolSpec::Kept) => {}
                Some(PoolSpec::Removed) => edit.to = Stride::Removed,
                None => {
                    let output = &edit.output;
                    return Err(TrainError::Recipe(RecipeError::Value {
                        field: "restride.pools".into(),
                        expected: format!(
                            "\"removed\" (as in the paper's VGG) or \"kept\" (as in its AlexNet), because the pool \"{output}\" gets a stride of 1"
                        ),
                    }));
                }
            }
        }
        Ok(restride(source, &edits)?)
    }
}

/// The change of the node that is called `name`, or whose output is.
fn named(source: &Shaped, name: &str, stride: NonZeroUsize) -> Result<Restride, TrainError> {
    let nodes = &source.model().graph.nodes;
    let found = nodes.iter().find(|node| node.name == name);
    let found =
        found.or_else(|| nodes.iter().find(|node| node.output(0).is_some_and(|output| output.as_str() == name)));
    let output = found.and_then(|node| node.output(0)).ok_or_else(|| {
        let slides = nodes.iter().filter(|node| node.operator == "Conv" || node.operator.ends_with("Pool"));
        let names: Vec<&str> = slides.map(|node| node.label()).collect();
        RecipeError::Value {
            field: format!("restride.nodes.{name}"),
            expected: format!("a convolution or a pool of the model, one of {}", names.join(", ")),
        }
    })?;
    Ok(Restride { output: output.clone(), to: Stride::By(stride) })
}
