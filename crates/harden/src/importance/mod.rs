//! How much a channel, a residual block or a weight matters: the criteria of pruning. What has the lowest score is removed first.
//!
//! The criteria that look at feature maps take those behind the first activation after the layer that makes the channels. Each is
//! computed on the net as it is, and again after each removal, as *On the Effect of Pruning on Adversarial Robustness* (Jordao and Pedrini, 2021)
//! does.

mod maps;
mod projection;
mod rank;
mod similarity;

use std::fmt;
use std::str::FromStr;

use assay_attack::{SampleId, SampleRng};
use assay_graph::{Block, Group, Shaped, Tensor};
use assay_runtime::{Class, EngineOptions, OnnxRuntime};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use crate::TrainError;

/// A criterion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Importance {
    /// Sum of the absolute weights that make the channel (Li et al., Pruning Filters for Efficient ConvNets, 2017). Blocks have none.
    L1,
    /// Mean absolute value of the feature map (DropNet: Tan and Motani, 2020).
    ExpectedAbs,
    /// Mean rank of the feature map (HRank: Lin et al., 2020).
    #[serde(rename = "hrank")]
    HRank,
    /// `KL(q ‖ p)` of the predictions `q` without the channel from those with it, `p` (CURL: Luo and Wu, 2020).
    Kl,
    /// Importance in a partial least squares projection of the largest value of each feature map on the classes (PLS/VIP: Jordao et al., 2020).
    Vip,
    /// One minus the centred kernel alignment of what goes into the last layer, with and without the channel (CKA: Kornblith et al., 2019).
    Cka,
    /// Absolute value of a weight: of single weights only.
    Magnitude,
    /// Uniform in `[0, 1)`: the floor.
    Random,
}

impl Importance {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::L1, Self::ExpectedAbs, Self::HRank, Self::Kl, Self::Vip, Self::Cka, Self::Magnitude, Self::Random];

    /// The name users write.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::L1 => "l1",
            Self::ExpectedAbs => "expected-abs",
            Self::HRank => "hrank",
            Self::Kl => "kl",
            Self::Vip => "vip",
            Self::Cka => "cka",
            Self::Magnitude => "magnitude",
            Self::Random => "random",
        }
    }
}

impl fmt::Display for Importance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Importance {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|i| i.name() == name).ok_or_else(|| {
            format!("unknown criterion \"{name}\": expected one of {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}

/// A net and the samples that it is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// The net.
    pub model: &'a Shaped,
    /// What it runs on.
    pub runtime: &'a OnnxRuntime,
    /// How.
    pub options: &'a EngineOptions,
    /// `[n, features]`.
    pub samples: ArrayView2<'a, f32>,
    /// Their classes.
    pub labels: &'a [Class],
    /// What random scores are drawn from.
    pub seed: u64,
}

impl Importance {
    /// A score for each channel of each of `groups`, which are groups of the net.
    ///
    /// # Errors
    /// A group has no feature map of a channel each, where the criterion looks at those; a run failed.
    pub fn of_channels(self, net: &Judged<'_>, groups: &[&Group]) -> Result<Vec<Vec<f64>>, TrainError> {
        match self {
            Self::Magnitude => Err(TrainError::Unfit("the criterion magnitude is for single weights only".into())),
            Self::L1 => groups.iter().map(|group| weights(net.model, group)).collect(),
            Self::Random => Ok(groups
                .iter()
                .zip(0..)
                .map(|(group, id)| {
                    let mut rng = SampleRng::new(net.seed, SampleId(id), "importance", 0);
                    group.channels.iter().map(|_| rng.uniform()).collect()
                })
                .collect()),
            _ => {
                let values =
                    groups.iter().map(|group| maps::of_group(net.model, group)).collect::<Result<Vec<_>, _>>()?;
                self.of_maps(net, &values)
            }
        }
    }

    /// A score for each of `blocks`, residual blocks of the net: that of its branch as one. HRank's is divided by the largest rank
    /// there can be, so that stages can be compared.
    ///
    /// # Errors
    /// The criterion is not defined for blocks, or a run failed.
    pub fn of_blocks(self, net: &Judged<'_>, blocks: &[&Block]) -> Result<Vec<f64>, TrainError> {
        let mean = |scores: Vec<f64>| scores.iter().sum::<f64>() / scores.len().max(1) as f64;
        match self {
            Self::L1 => Err(TrainError::Unfit("the criterion l1 is for filters only".into())),
            Self::Magnitude => Err(TrainError::Unfit("the criterion magnitude is for single weights only".into())),
            Self::Random => Ok(blocks
                .iter()
                .zip(0..)
                .map(|(_, id)| SampleRng::new(net.seed, SampleId(id), "importance of blocks", 0).uniform())
                .collect()),
            Self::Kl | Self::Cka => {
                let values =
                    blocks.iter().map(|block| maps::of_branch(net.model, block)).collect::<Result<Vec<_>, _>>()?;
                maps::without(net, &values, self == Self::Kl, maps::Whole::All)
                    .map(|scores| scores.into_iter().map(mean).collect())
            }
            Self::ExpectedAbs | Self::HRank | Self::Vip => {
                let values: Vec<_> = blocks.iter().map(|block| maps::behind(net.model, &block.output)).collect();
                let scores = self.of_maps(net, &values)?;
                let largest = |value| maps::side(net.model, value).max(1) as f64;
                let scale = |value| if self == Self::HRank { largest(value) } else { 1.0 };
                Ok(scores.into_iter().zip(&values).map(|(scores, value)| mean(scores) / scale(value)).collect())
            }
        }
    }

    fn of_maps(self, net: &Judged<'_>, values: &[assay_graph::Value]) -> Result<Vec<Vec<f64>>, TrainError> {
        match self {
            Self::ExpectedAbs => maps::means(net, values, |map, _, _| {
                map.iter().map(|v| f64::from(v.abs())).sum::<f64>() / map.len().max(1) as f64
            }),
            Self::HRank => maps::means(net, values, |map, rows, columns| rank::rank(map, rows, columns) as f64),
            Self::Vip => {
                let largest = maps::largest(net, values)?;
                let labels: Vec<usize> = net.labels.iter().map(|label| label.index()).collect();
                let classes = labels.iter().max().map_or(0, |most| most + 1);
                let all = projection::importance(&largest, &labels, classes);
                let mut rest = all.iter().copied();
                Ok(maps::widths(net.model, values).into_iter().map(|n| rest.by_ref().take(n).collect()).collect())
            }
            _ => maps::without(net, values, self == Self::Kl, maps::Whole::EachChannel),
        }
    }
}

/// Sums of absolute weights, channel by channel, over all layers that make the channels.
fn weights(model: &Shaped, group: &Group) -> Result<Vec<f64>, TrainError> {
    let contents = group
        .producers
        .iter()
        .map(|producer| {
            let tensor = model.model().graph.initializers.get(&producer.weight);
            let missing = || TrainError::Unfit(format!("the weights of \"{}\" are computed", producer.node));
            let tensor = tensor.ok_or_else(missing)?;
            Ok((producer, tensor, tensor.to_f64().ok_or_else(missing)?))
        })
        .collect::<Result<Vec<_>, TrainError>>()?;
    let of_channel = |channel: &assay_graph::Channel| {
        let mut sum = 0.0;
        for (producer, tensor, values) in &contents {
            let slices = channel.weights.iter().filter(|s| s.value == producer.weight && s.axis == producer.axis);
            for position in slices.flat_map(|slice| &slice.positions) {
                sum += absolute(tensor, values, producer.axis, *position);
            }
        }
        sum
    };
    Ok(group.channels.iter().map(of_channel).collect())
}

/// `Σ |values|` at one position of an axis.
fn absolute(tensor: &Tensor, values: &[f64], axis: usize, position: usize) -> f64 {
    let dims = tensor.dims();
    let inner: usize = dims.iter().skip(axis + 1).product();
    let size = dims.get(axis).copied().unwrap_or(1) * inner;
    values.chunks(size.max(1)).flat_map(|outer| outer.iter().skip(position * inner).take(inner)).map(|v| v.abs()).sum()
}
