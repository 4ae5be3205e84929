//! Several passes through one net, with the same weights, in one graph.

use std::collections::HashMap;

use super::trainable::Trainable;
use crate::names::Names;
use crate::rename::{Renamed, rename};
use crate::{BatchStatistics, Value, ValueInfo};

/// A model with copies of what depends on its input: see [`views`].
pub(super) struct Views {
    /// The model; the statistics of each view follow those of the one before.
    pub(super) model: Trainable,
    /// The input of each view.
    pub(super) inputs: Vec<Value>,
    /// The logits of each view.
    pub(super) logits: Vec<Value>,
}

/// `model` with `count` passes from `input` to `logits`. The first keeps its names.
pub(super) fn views(mut model: Trainable, input: &Value, logits: &Value, count: usize) -> Views {
    let (mut inputs, mut outputs) = (vec![input.clone()], vec![logits.clone()]);
    let (nodes, statistics) = (model.model.model().graph.nodes.clone(), model.statistics.clone());
    let mut names = Names::of(&model.model.model().graph);
    for view in 1..count {
        let prefix = format!("view.{view}");
        let own = nodes.iter().flat_map(|node| node.outputs.iter().flatten()).chain([input]);
        let map: HashMap<Value, Value> =
            own.map(|value| (value.clone(), names.fresh(&format!("{prefix}/{value}")))).collect();
        let renamed: Renamed = map.iter().map(|(from, to)| (from.clone(), Some(to.clone()))).collect();
        let shapes = &mut model.model.shapes.0;
        for (from, to) in &map {
            if let Some(facts) = shapes.get(from).cloned() {
                shapes.insert(to.clone(), facts);
            }
        }
        let graph = &mut model.model.canonical.model.graph;
        for mut node in nodes.iter().cloned() {
            rename(&mut node, &prefix, &renamed, &mut names);
            graph.nodes.push(node);
        }
        let info = graph.inputs.iter().find(|info| info.value == *input).cloned();
        graph.inputs.extend(info.map(|info| ValueInfo { value: map[input].clone(), ..info }));
        let of_view = |s: &BatchStatistics| BatchStatistics {
            mean: map[&s.mean].clone(),
            variance: map[&s.variance].clone(),
            ..s.clone()
        };
        model.statistics.extend(statistics.iter().map(of_view));
        inputs.push(map[input].clone());
        outputs.push(map.get(logits).unwrap_or(logits).clone());
    }
    Views { model, inputs, logits: outputs }
}
