//! Unstructured pruning: single weights become zero, and stay so while the others are trained.

use std::collections::HashSet;

use assay_attack::{SampleId, SampleRng};
use assay_graph::{Model, Node, Shaped, Tensor, Value, untied};
use ndarray::{ArrayD, Zip};

use crate::net::Net;
use crate::prune::compare;
use crate::{End, Importance, Judged, PruneSpec, Removed, Scope, TrainError};

/// The tensors of `model` that layers multiply with, in the order of the layers: kernels of convolutions and matrices. Biases and norms are none.
fn layers(model: &Shaped) -> Vec<Value> {
    let graph = &model.model().graph;
    let mut found: Vec<Value> = Vec::new();
    for node in graph.nodes.iter().filter(|node| node.domain.is_empty()) {
        for value in factors(node) {
            let tensor = graph.initializers.get(value);
            let weighs = tensor.is_some_and(|tensor| tensor.dtype().is_float() && tensor.dims().len() > 1);
            if weighs && !found.contains(value) {
                found.push(value.clone());
            }
        }
    }
    found
}

/// The inputs of a layer that may be its weights.
fn factors(node: &Node) -> impl Iterator<Item = &Value> {
    let range = match node.operator.as_str() {
        "Conv" => 1..2,
        "Gemm" | "MatMul" => 0..2,
        _ => 0..0,
    };
    range.filter_map(|i| node.input(i))
}

impl PruneSpec {
    /// The net with zeros for the weights that matter least, of those that are not zero.
    pub(crate) fn without_weights(&self, net: &Judged<'_>) -> Result<(Model, Removed), TrainError> {
        let model = untied(net.model);
        let mut layers = layers(&model);
        if self.except.contains(&End::Last) {
            layers.pop();
        }
        if self.except.contains(&End::First) && !layers.is_empty() {
            layers.remove(0);
        }
        let contents = layers.iter().filter_map(|value| {
            let tensor = model.model().graph.initializers.get(value)?;
            Some((value, tensor, tensor.to_f64()?))
        });
        let mut contents: Vec<(&Value, &Tensor, Vec<f64>)> = contents.collect();
        // Layer by layer, the weights that are left.
        let mut left: Vec<Vec<Left>> = Vec::new();
        for (layer, (_, _, numbers)) in contents.iter().enumerate() {
            let mut rng = SampleRng::new(net.seed, SampleId(layer as u64), "importance of weights", 0);
            let scored = numbers.iter().enumerate().map(|(place, number)| {
                let score = if self.importance == Importance::Random { rng.uniform() } else { number.abs() };
                (*number != 0.0).then_some(Left { score, layer, place })
            });
            left.push(scored.flatten().collect());
        }
        let pruned: Vec<Left> = match self.scope {
            Scope::Layer => left.into_iter().flat_map(|layer| least(layer, self.rate)).collect(),
            Scope::Global => least(left.into_iter().flatten().collect(), self.rate),
        };
        if pruned.is_empty() {
            let layers = contents.len();
            return Err(TrainError::Unfit(format!(
                "a share of {} removes none of the weights of {layers} layers",
                self.rate
            )));
        }
        for gone in &pruned {
            contents[gone.layer].2[gone.place] = 0.0;
        }
        let tensors: Vec<(Value, Tensor)> = contents
            .iter()
            .map(|(value, tensor, numbers)| ((*value).clone(), Tensor::rounded(tensor.dtype(), tensor.dims(), numbers)))
            .collect();
        let model = model.with_initializers(tensors).map_err(|e| TrainError::Unfit(e.to_string()))?;
        Ok((model.model().clone(), Removed { channels: 0, blocks: 0, weights: pruned.len() }))
    }
}

/// A weight that is not zero.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Left {
    score: f64,
    layer: usize,
    place: usize,
}

/// The least of `weights`: so many as the share says, rounded down, as of the masks of HYDRA (Sehwag et al., 2020). Of equal ones the first.
fn least(mut weights: Vec<Left>, rate: f64) -> Vec<Left> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length, below it")]
    let count = (rate * weights.len() as f64) as usize;
    if count < weights.len() {
        weights.select_nth_unstable_by(count, |a, b| {
            compare(a.score, b.score).then((a.layer, a.place).cmp(&(b.layer, b.place)))
        });
        weights.truncate(count);
    }
    weights
}

/// The weights that are pruned. Their gradients are zero, so that nothing moves them: no momentum, decay, average or perturbation of weights
/// makes anything else of zeros.
#[derive(Debug)]
pub(crate) struct Mask {
    /// What is left of each weight, in the order of the gradients; `None` of those that are not of a layer.
    left: Vec<Option<ArrayD<bool>>>,
}

impl Mask {
    /// What is zero in the layers of `net`, which is that of `model`.
    pub(crate) fn of(model: &Shaped, net: &Net) -> Self {
        let layers: HashSet<Value> = layers(model).into_iter().collect();
        let left = |(value, weight): (&Value, &ArrayD<f32>)| {
            layers.contains(value).then(|| weight.mapv(|number| number != 0.0))
        };
        Self { left: net.weights.iter().map(left).collect() }
    }

    /// Takes the gradients of pruned weights away.
    pub(crate) fn hold(&self, gradients: &mut [ArrayD<f32>]) {
        for (gradient, left) in gradients.iter_mut().zip(&self.left) {
            if let Some(left) = left {
                Zip::from(gradient).and(left).for_each(|g, &left| *g = if left { *g } else { 0.0 });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(scores: &[f64]) -> Vec<Left> {
        scores.iter().enumerate().map(|(place, &score)| Left { score, layer: 0, place }).collect()
    }

    fn places(rate: f64, scores: &[f64]) -> Vec<usize> {
        let mut places: Vec<usize> = least(of(scores), rate).iter().map(|left| left.place).collect();
        places.sort_unstable();
        places
    }

    #[test]
    fn the_least_go_and_of_equal_ones_the_first() {
        assert_eq!(places(0.5, &[3.0, 1.0, 2.0, 4.0]), [1, 2]);
        assert_eq!(places(0.5, &[1.0; 6]), [0, 1, 2]);
        assert_eq!(places(0.5, &[f64::NAN, 5.0]), [1]);
    }

    #[test]
    fn shares_are_rounded_down() {
        // As many are kept as by HYDRA's masks.
        for (of_all, keep, kept) in [(10, 0.1, 1), (27, 0.05, 2), (1728, 0.1, 173), (1728, 0.05, 87), (1728, 0.01, 18)]
        {
            assert_eq!(of_all - least(of(&vec![1.0; of_all]), 1.0 - keep).len(), kept, "{of_all}, {keep}");
        }
        assert_eq!(least(of(&[1.0; 9]), 0.1), []);
    }
}
