//! One step of iterative pruning: what matters least is removed, and the net is rebuilt without it (Jordao and Pedrini, On the
//! Effect of Pruning on Adversarial Robustness, 2021, and the procedure of its authors' programs).

use std::cmp::Ordering;

use assay_attack::{SampleId, SampleRng};
use assay_graph::{Block, Group, Model, Removal, Value, blocks, channels_to_remove, groups, prune, remove_blocks};
use serde::{Deserialize, Serialize};

use crate::{Importance, Judged, RecipeError, TrainError};

/// How a net is made smaller: some iterations of removing and training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneSpec {
    /// What is removed.
    pub structure: Structure,
    /// By which criterion.
    pub importance: Importance,
    /// Share of the filters that an iteration removes, in (0, 1): rounded to the nearest number, at a tie to the even one. Of the weights that
    /// are left, of `structure = "weights"`: rounded down.
    #[serde(default = "tenth")]
    pub rate: f64,
    /// Whether the share is that of each layer, or of all together.
    #[serde(default)]
    pub scope: Scope,
    /// Residual blocks that an iteration removes.
    #[serde(default = "one")]
    pub blocks: usize,
    /// Residual blocks that each stage keeps, at least 1.
    #[serde(default = "two")]
    pub keep: usize,
    /// Iterations, each of which ends with the recipe's epochs.
    #[serde(default = "one")]
    pub iterations: usize,
    /// Layers whose single weights stay: HYDRA's comparisons prune them all (Sehwag et al., 2020).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<End>,
    /// Samples by which the criterion judges, of each class as large a share as of the others; those among them that are set aside for
    /// validation are left out.
    #[serde(default = "judges")]
    pub samples: usize,
}

fn tenth() -> f64 {
    0.1
}

fn one() -> usize {
    1
}

/// As the authors' programs.
fn two() -> usize {
    2
}

fn judges() -> usize {
    500
}

/// What is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Structure {
    /// Filters whose output no shortcut reads: the first convolutions of residual blocks, all of a plain net.
    Filters,
    /// Residual blocks, but for the first of the net and those that a stage [keeps](PruneSpec::keep).
    Layers,
    /// Each iteration one of them, by a fair coin.
    Both,
    /// Single weights of convolutions and of products with matrices, which become zero and stay so.
    Weights,
}

/// A layer at an end of a net.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The first layer with weights.
    First,
    /// The last.
    Last,
}

impl Structure {
    /// What a net is called that was made smaller so.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Filters => "filter-pruned",
            Self::Layers => "layer-pruned",
            Self::Both => "filter-and-layer-pruned",
            Self::Weights => "weight-pruned",
        }
    }
}

/// What a rate is a share of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The filters, or weights, of each layer.
    #[default]
    Layer,
    /// All of them, compared by their scores across layers. A layer that would lose all of its filters loses none; of weights it does lose them.
    Global,
}

/// What an iteration removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Filters.
    pub channels: usize,
    /// Residual blocks.
    pub blocks: usize,
    /// Single weights, which are zero now.
    pub weights: usize,
}

impl PruneSpec {
    pub(crate) fn check(&self) -> Result<(), RecipeError> {
        let wrong = |field: &str, expected: &str| {
            Err(RecipeError::Value { field: format!("prune.{field}"), expected: expected.to_owned() })
        };
        if !(self.rate > 0.0 && self.rate < 1.0) {
            return wrong("rate", "above 0 and below 1");
        }
        let counts = [("blocks", self.blocks), ("keep", self.keep), ("iterations", self.iterations)];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return wrong(name, "at least 1");
        }
        if self.samples < 2 {
            return wrong("samples", "at least 2");
        }
        if self.structure != Structure::Weights && !self.except.is_empty() {
            return wrong("except", "none: it is of structure = \"weights\" only");
        }
        match (self.structure, self.importance) {
            (Structure::Weights, Importance::Magnitude | Importance::Random) => Ok(()),
            (Structure::Weights, _) => wrong("importance", "magnitude or random, the criteria of single weights"),
            (_, Importance::Magnitude) => {
                wrong("importance", "another criterion than magnitude, which is of single weights")
            }
            (Structure::Layers | Structure::Both, Importance::L1) => {
                wrong("importance", "another criterion than l1, which blocks do not have")
            }
            _ => Ok(()),
        }
    }

    /// Whether the criterion looks at samples.
    pub(crate) fn needs_samples(&self) -> bool {
        !matches!(self.importance, Importance::L1 | Importance::Magnitude | Importance::Random)
    }

    /// The net without what matters least in iteration `iteration`, counted from 0.
    pub(crate) fn step(&self, net: &Judged<'_>, iteration: usize) -> Result<(Model, Removed), TrainError> {
        let layers = match self.structure {
            Structure::Weights => return self.without_weights(net),
            Structure::Filters => false,
            Structure::Layers => true,
            Structure::Both => {
                SampleRng::new(net.seed, SampleId(iteration as u64), "filters or layers", 0).uniform() >= 0.5
            }
        };
        if layers { self.without_blocks(net) } else { self.without_filters(net) }
    }

    fn without_filters(&self, net: &Judged<'_>) -> Result<(Model, Removed), TrainError> {
        let all = groups(net.model);
        let chosen: Vec<&Group> = all.iter().filter(|group| group.fixed.is_none() && group.is_internal()).collect();
        let scores = self.importance.of_channels(net, &chosen)?;
        let least = match self.scope {
            Scope::Layer => {
                scores.iter().map(|scores| least(scores, channels_to_remove(self.rate, scores.len()))).collect()
            }
            Scope::Global => least_of_all(&scores, self.rate),
        };
        let removals = chosen.iter().zip(least).map(|(group, channels)| Removal { group: group.id, channels });
        let removals: Vec<Removal> = removals.filter(|removal| !removal.channels.is_empty()).collect();
        let channels = removals.iter().map(|removal| removal.channels.len()).sum();
        if channels == 0 {
            return Err(TrainError::Unfit(format!(
                "a share of {} removes no filter: {} layers have filters that can go, the widest {}",
                self.rate,
                chosen.len(),
                scores.iter().map(Vec::len).max().unwrap_or(0)
            )));
        }
        Ok((prune(net.model, &removals)?, Removed { channels, blocks: 0, weights: 0 }))
    }

    fn without_blocks(&self, net: &Judged<'_>) -> Result<(Model, Removed), TrainError> {
        let all = blocks(net.model);
        let chosen: Vec<&Block> = all.iter().skip(1).filter(|block| block.fixed.is_none()).collect();
        let scores = self.importance.of_blocks(net, &chosen)?;
        let mut left: Vec<usize> = all.iter().fold(Vec::new(), |mut left, block| {
            left.resize(left.len().max(block.stage + 1), 0);
            left[block.stage] += 1;
            left
        });
        let mut outputs: Vec<Value> = Vec::new();
        for place in least(&scores, scores.len()) {
            let stage = &mut left[chosen[place].stage];
            if *stage > self.keep && outputs.len() < self.blocks {
                *stage -= 1;
                outputs.push(chosen[place].output.clone());
            }
        }
        if outputs.is_empty() {
            return Err(TrainError::Unfit(format!(
                "no residual block can be removed: of {} blocks each stage keeps {}, and the first of the net stays",
                all.len(),
                self.keep
            )));
        }
        Ok((remove_blocks(net.model, &outputs)?, Removed { channels: 0, blocks: outputs.len(), weights: 0 }))
    }
}

/// The places of the `count` least scores, the lowest first; of equal ones the first. What is no number comes last.
fn least(scores: &[f64], count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..scores.len()).collect();
    places.sort_by(|&a, &b| compare(scores[a], scores[b]).then(a.cmp(&b)));
    places.truncate(count);
    places
}

pub(crate) fn compare(a: f64, b: f64) -> Ordering {
    a.is_nan().cmp(&b.is_nan()).then(a.partial_cmp(&b).unwrap_or(Ordering::Equal))
}

/// The places, layer by layer, of the least scores of all layers, so many as the rate says.
fn least_of_all(scores: &[Vec<f64>], rate: f64) -> Vec<Vec<usize>> {
    let flat: Vec<f64> = scores.iter().flatten().copied().collect();
    let mut chosen = vec![false; flat.len()];
    least(&flat, channels_to_remove(rate, flat.len())).into_iter().for_each(|place| chosen[place] = true);
    let mut rest = chosen.into_iter();
    let places = scores.iter().map(|layer| {
        let here: Vec<bool> = rest.by_ref().take(layer.len()).collect();
        let places: Vec<usize> = (0..layer.len()).filter(|&place| here[place]).collect();
        if places.len() == layer.len() { Vec::new() } else { places }
    });
    places.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_come_first_and_what_is_no_number_last() {
        assert_eq!(least(&[3.0, f64::NAN, 1.0, 1.0, 2.0], 4), [2, 3, 4, 0]);
        assert_eq!(least(&[1.0], 0), [0; 0]);
    }

    #[test]
    fn layers_are_compared_with_each_other_and_none_is_emptied() {
        let scores = [vec![5.0, 1.0, 6.0, 7.0], vec![2.0, 3.0], vec![9.0, 8.0, 4.0, 10.0]];
        // Five of ten: 1, 2, 3, 4, 5.
        assert_eq!(least_of_all(&scores, 0.5), [vec![0, 1], vec![], vec![2]]);
    }
}
