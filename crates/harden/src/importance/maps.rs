//! Feature maps: where they are, what they hold for some samples, and what the net is without them.

use assay_graph::{Block, Dim, Group, Node, Observed, Shaped, Value, observe};
use assay_runtime::{Array, ArrayRef, Program, Tensors};
use ndarray::{Array2, ArrayD, Axis, Ix2, concatenate};

use super::Judged;
use super::similarity::{alignment, divergence};
use crate::TrainError;
use crate::perturb::probabilities;

/// Samples of a run.
const BATCH: usize = 64;

/// Operators behind which a feature map is looked at.
const ACTIVATIONS: [&str; 17] = [
    "Celu",
    "Clip",
    "Elu",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Mish",
    "PRelu",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Swish",
    "Tanh",
    "ThresholdedRelu",
];

/// The feature maps of a group: what the first activation gives behind the layer that makes its channels, or that layer itself
/// where there is none before the next one.
pub(super) fn of_group(model: &Shaped, group: &Group) -> Result<Value, TrainError> {
    let is_map = |value: &Value, places: &mut dyn Iterator<Item = (usize, Vec<usize>)>| {
        matches!(dims(model, value), [_, Dim::Fixed(c), ..] if *c == group.channels.len())
            && places.enumerate().all(|(i, (axis, positions))| axis == 1 && positions == [i])
    };
    let one_each = |value: &Value| {
        let mut places = group.channels.iter().map(|channel| {
            let slice = channel.values.iter().find(|slice| slice.value == *value);
            slice.map_or((0, Vec::new()), |slice| (slice.axis, slice.positions.clone()))
        });
        is_map(value, &mut places)
    };
    let values = group.channels.first().map(|channel| &channel.values[..]).unwrap_or_default();
    let candidates: Vec<&Value> = values.iter().map(|slice| &slice.value).filter(|value| one_each(value)).collect();
    let activated = candidates
        .iter()
        .find(|value| producer(model, value).is_some_and(|node| ACTIVATIONS.contains(&node.operator.as_str())));
    let made = || candidates.iter().find(|value| group.producers.iter().any(|producer| producer.output == ***value));
    let found = activated.or_else(made).map(|value| (*value).clone());
    found.ok_or_else(|| {
        let node = group.producers.first().map_or("", |producer| &producer.node);
        TrainError::Unfit(format!(
            "the channels that \"{node}\" makes have no feature map each: use the criterion l1 or random"
        ))
    })
}

/// What the activation behind `value` gives, if one reads it; else `value`.
pub(super) fn behind(model: &Shaped, value: &Value) -> Value {
    let nodes = &model.model().graph.nodes;
    let reader = nodes.iter().find(|n| n.input(0) == Some(value) && ACTIVATIONS.contains(&n.operator.as_str()));
    reader.and_then(|node| node.output(0)).unwrap_or(value).clone()
}

/// What the branch of a block adds.
pub(super) fn of_branch(model: &Shaped, block: &Block) -> Result<Value, TrainError> {
    let sum = producer(model, &block.output);
    let inputs = sum.map(|node| node.inputs.iter().flatten().collect::<Vec<_>>()).unwrap_or_default();
    let added = inputs
        .into_iter()
        .find(|value| producer(model, value).is_some_and(|node| block.branch.iter().any(|name| name == node.label())));
    added
        .cloned()
        .ok_or_else(|| TrainError::Unfit(format!("the block \"{}\" has no branch that is added", block.output)))
}

fn producer<'m>(model: &'m Shaped, value: &Value) -> Option<&'m Node> {
    model.model().graph.nodes.iter().find(|node| node.outputs.iter().flatten().any(|o| o == value))
}

fn dims<'m>(model: &'m Shaped, value: &Value) -> &'m [Dim] {
    model.facts(value).map_or(&[], |facts| &facts.dims)
}

/// Channels of each value.
pub(super) fn widths(model: &Shaped, values: &[Value]) -> Vec<usize> {
    let width = |value| match dims(model, value) {
        [_, Dim::Fixed(channels), ..] => *channels,
        _ => 0,
    };
    values.iter().map(width).collect()
}

/// The longer side of a value's maps.
pub(super) fn side(model: &Shaped, value: &Value) -> usize {
    let sides = dims(model, value).iter().skip(2).map(|d| if let Dim::Fixed(size) = d { *size } else { 0 });
    sides.max().unwrap_or(1)
}

/// The mean over the samples of `measure` of each map, which is given with its rows and columns.
pub(super) fn means(
    net: &Judged<'_>,
    values: &[Value],
    measure: impl Fn(&[f32], usize, usize) -> f64,
) -> Result<Vec<Vec<f64>>, TrainError> {
    let mut sums: Vec<Vec<f64>> = widths(net.model, values).into_iter().map(|n| vec![0.0; n]).collect();
    let mut looked_at = Looked::new(net, values, &[])?;
    looked_at.each(net, |outputs| {
        for (sums, maps) in sums.iter_mut().zip(outputs) {
            let [rows, columns] = sides(maps.shape());
            for sample in maps.outer_iter() {
                for (sum, map) in sums.iter_mut().zip(sample.outer_iter()) {
                    *sum += measure(&map.iter().copied().collect::<Vec<f32>>(), rows, columns);
                }
            }
        }
    })?;
    let n = net.labels.len().max(1) as f64;
    sums.iter_mut().flatten().for_each(|sum| *sum /= n);
    Ok(sums)
}

/// Rows and columns of the maps of a tensor `[n, c, …]`; further axes count as columns.
fn sides(shape: &[usize]) -> [usize; 2] {
    match shape {
        [_, _, rows, rest @ ..] => [*rows, rest.iter().product()],
        _ => [1, 1],
    }
}

/// The largest element of each map of each sample, `[n, all channels]`.
pub(super) fn largest(net: &Judged<'_>, values: &[Value]) -> Result<Array2<f64>, TrainError> {
    let columns = widths(net.model, values).iter().sum();
    let mut numbers = Vec::with_capacity(net.labels.len() * columns);
    Looked::new(net, values, &[])?.each(net, |outputs| {
        let n = outputs.first().map_or(0, |maps| maps.shape()[0]);
        for sample in 0..n {
            for maps in outputs {
                let maps = maps.index_axis(Axis(0), sample);
                numbers.extend(
                    maps.outer_iter().map(|map| f64::from(map.iter().fold(f32::NEG_INFINITY, |most, &v| most.max(v)))),
                );
            }
        }
    })?;
    Array2::from_shape_vec((net.labels.len(), columns), numbers).map_err(|e| TrainError::Unfit(e.to_string()))
}

/// What is switched off at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    /// One channel.
    EachChannel,
    /// All channels of a value.
    All,
}

/// What the net is without channels of `values`: the divergence of its predictions, or one minus the alignment of what goes into its last layer.
pub(super) fn without(
    net: &Judged<'_>,
    values: &[Value],
    of_predictions: bool,
    whole: Whole,
) -> Result<Vec<Vec<f64>>, TrainError> {
    let logits = net.model.logits().map_err(|e| TrainError::Unfit(e.to_string()))?.clone();
    let seen = if of_predictions { logits } else { last_features(net.model, &logits)? };
    let mut net_inside = Looked::new(net, &[seen], values)?;
    let read = |net_inside: &mut Looked| -> Result<Array2<f64>, TrainError> {
        let mut parts = Vec::new();
        net_inside.each(net, |outputs| parts.extend(outputs.first().cloned()))?;
        let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
        let odd = |e: ndarray::ShapeError| TrainError::Unfit(e.to_string());
        let all = concatenate(Axis(0), &views).map_err(odd)?;
        let (n, rest) = (all.shape()[0], all.len() / all.shape()[0].max(1));
        let rows = all.into_shape_with_order((n, rest)).map_err(odd)?.into_dimensionality::<Ix2>().map_err(odd)?;
        Ok(if of_predictions { probabilities(rows) } else { rows }.mapv(f64::from))
    };
    let with = read(&mut net_inside)?;
    let mut scores = Vec::with_capacity(values.len());
    for (place, width) in widths(net.model, values).into_iter().enumerate() {
        let rounds: Vec<Vec<usize>> = match whole {
            Whole::EachChannel => (0..width).map(|channel| vec![channel]).collect(),
            Whole::All => vec![(0..width).collect()],
        };
        let mut of_value = Vec::with_capacity(rounds.len());
        for round in rounds {
            round.iter().for_each(|&channel| net_inside.gates[place].1[[channel]] = 0.0);
            let without = read(&mut net_inside)?;
            round.iter().for_each(|&channel| net_inside.gates[place].1[[channel]] = 1.0);
            of_value.push(if of_predictions {
                let rows = without.outer_iter().zip(with.outer_iter());
                rows.map(|(q, p)| divergence(&q, &p)).sum::<f64>() / with.nrows().max(1) as f64
            } else {
                1.0 - alignment(&with, &without)
            });
        }
        scores.push(of_value);
    }
    Ok(scores)
}

/// What goes into the last layer with weights.
fn last_features(model: &Shaped, logits: &Value) -> Result<Value, TrainError> {
    let mut value = logits.clone();
    loop {
        let node = producer(model, &value).ok_or_else(|| TrainError::Unfit("there is no last layer".into()))?;
        let Some(input) = node.input(0) else {
            return Err(TrainError::Unfit("there is no last layer".into()));
        };
        if matches!(node.operator.as_str(), "Gemm" | "MatMul" | "Conv") {
            return Ok(input.clone());
        }
        value = input.clone();
    }
}

/// A net whose inside is looked at.
struct Looked {
    program: Program,
    outputs: Vec<Value>,
    input: Value,
    /// Gates, all open.
    gates: Vec<(Value, ArrayD<f32>)>,
}

impl Looked {
    fn new(net: &Judged<'_>, values: &[Value], gated: &[Value]) -> Result<Self, TrainError> {
        let Observed { model, outputs, gates } = observe(net.model, values, gated)?;
        let input = net.model.input().map_err(|e| TrainError::Unfit(e.to_string()))?.clone();
        let gates = gates.into_iter().zip(widths(net.model, gated)).map(|(gate, n)| (gate, ArrayD::ones(vec![n])));
        let gates = gates.collect();
        Ok(Self { program: Program::open(net.runtime, &model, net.options)?, outputs, input, gates })
    }

    /// The outputs for the samples, some at a time.
    fn each(&mut self, net: &Judged<'_>, mut take: impl FnMut(&[ArrayD<f32>])) -> Result<(), TrainError> {
        let shape: Vec<usize> = dims(net.model, &self.input)
            .iter()
            .skip(1)
            .map(|d| if let Dim::Fixed(size) = d { *size } else { 0 })
            .collect();
        for rows in net.samples.axis_chunks_iter(Axis(0), BATCH) {
            let samples = rows.to_owned().into_shape_with_order([&[rows.nrows()], &shape[..]].concat());
            let samples = samples.map_err(|e| TrainError::Unfit(format!("the samples: {e}")))?;
            let gates = self.gates.iter().map(|(gate, factors)| (gate.as_str(), ArrayRef::Float(factors)));
            let inputs = gates.chain([(self.input.as_str(), ArrayRef::Float(&samples))]);
            let mut found: Tensors = self.program.run(inputs)?;
            let outputs = self.outputs.iter().map(|value| match found.swap_remove(value.as_str()) {
                Some(Array::Float(array)) => Ok(array),
                _ => Err(TrainError::Unfit(format!("\"{value}\" holds no numbers"))),
            });
            take(&outputs.collect::<Result<Vec<_>, _>>()?);
        }
        Ok(())
    }
}
