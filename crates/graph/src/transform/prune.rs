//! Structured pruning: channels removed for good, with everything that belongs to them.

use std::collections::HashSet;

use super::checked;
use crate::channels::{Analysis, GroupId, Pruned};
use crate::names::Names;
use crate::order::drop_unused;
use crate::{Cause, Graph, Model, Node, Rule, Shaped, Tensor, TransformError, Value, operator};

/// Channels of one group to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The group, of those that [`groups`](crate::groups) finds in the same model.
    pub group: GroupId,
    /// Places in [`Group::channels`](crate::Group::channels).
    pub channels: Vec<usize>,
}

/// How many of `channels` a rate of `rate`, 0 to 1, removes: the nearest number, the even one at a tie, and never all of them.
///
/// The rounding is that of Python, in which the procedures of the literature are written: a tenth of 25 channels is 2, and of 35
/// is 4. A tenth of 5 channels or fewer is none.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
pub fn channels_to_remove(rate: f64, channels: usize) -> usize {
    let nearest = (rate * channels as f64).round_ties_even();
    (nearest as usize).min(channels.saturating_sub(1))
}

/// `source` without the channels `removals`. Weights are sliced, and what nodes say about the number of channels is corrected; all
/// else stays as it is. The result computes what [`zeroed`] of the same removals does.
///
/// # Errors
/// A group is not of this model, or fixed; a channel is not of its group; or nothing would be left of a value.
pub fn prune(source: &Shaped, removals: &[Removal]) -> Result<Model, TransformError> {
    const PASS: &str = "prune";
    let mut analysis = Analysis::of(source);
    let classes = removed(&analysis, removals).map_err(|cause| TransformError::of_model(PASS, cause))?;
    cut(PASS, &mut analysis, &classes)
}

/// The model of `analysis` without these classes of positions.
pub(super) fn cut(
    pass: &'static str,
    analysis: &mut Analysis,
    classes: &HashSet<usize>,
) -> Result<Model, TransformError> {
    let of_model = |cause| TransformError::of_model(pass, cause);
    let originals = analysis.originals.clone();
    let mut model = analysis.model.model().clone();
    let mut pruned = Pruned::of(analysis, &|class| classes.contains(&class)).map_err(of_model)?;
    let graph = &mut model.graph;
    for (value, tensor) in &mut graph.initializers {
        *tensor = pruned.slice(value, tensor).map_err(of_model)?;
    }
    for node in &mut graph.nodes {
        if node.inputs.iter().chain(&node.outputs).flatten().any(|value| pruned.changes(value)) {
            let rule = operator(&node.operator).ok_or(Cause::NoRule);
            let said = rule.and_then(|rule| rule.pruned(node, &mut pruned));
            said.map_err(|cause| TransformError::at(pass, node, cause))?;
        }
    }
    graph.value_info.retain(|info| !pruned.changes(&info.value));
    graph.initializers.extend(pruned.into_constants());
    rejoin(graph, &originals);
    drop_unused(graph);
    checked(pass, model)
}

/// `source` with the same channels set to zero where layers sum over them: each such input is multiplied with a mask, an
/// initializer `zeroed/<value>` of ones and zeros along the axis.
///
/// # Errors
/// As [`prune`], but that something may be left of nothing; or the channels are not floating-point numbers there.
pub fn zeroed(source: &Shaped, removals: &[Removal]) -> Result<Model, TransformError> {
    const PASS: &str = "zeroed";
    let mut analysis = Analysis::of(source);
    let classes = removed(&analysis, removals).map_err(|cause| TransformError::of_model(PASS, cause))?;
    let mut model = analysis.model.model().clone();
    let graph = &mut model.graph;
    let mut names = Names::of(graph);
    // Before which node, and what.
    let mut masks: Vec<(usize, Node)> = Vec::new();
    for summed in &analysis.summed {
        let Some(slot) = analysis.positions.slot(&summed.value, summed.axis) else { continue };
        let stays: Vec<f64> = (slot.positions())
            .map(|position| f64::from(u8::from(!classes.contains(&analysis.positions.class(position)))))
            .collect();
        if stays.iter().all(|&stays| stays > 0.0) {
            continue;
        }
        let node = &mut graph.nodes[summed.node];
        let facts = analysis.model.facts(&summed.value).filter(|facts| facts.dtype.is_float());
        let facts = facts.ok_or_else(|| {
            let cause = Cause::Unsupported(format!("\"{}\" does not hold floating-point numbers", summed.value));
            TransformError::at(PASS, node, cause)
        })?;
        let mut dims = vec![1; facts.dims.len() - summed.axis];
        dims[0] = stays.len();
        let mask = names.fresh(&format!("{PASS}/{}", summed.value));
        graph.initializers.insert(mask.clone(), Tensor::rounded(facts.dtype, &dims, &stays));
        let masked = names.fresh(&format!("{PASS}/{}/Mul", node.label()));
        let input = node.inputs[summed.input].replace(masked.clone());
        let multiply = Node::new("Mul", vec![input, Some(mask)], vec![Some(masked.clone())]);
        masks.push((summed.node, Node { name: masked.to_string(), ..multiply }));
    }
    let mut masks = masks.into_iter().peekable();
    let mut nodes = Vec::with_capacity(graph.nodes.len() + masks.len());
    for (i, node) in std::mem::take(&mut graph.nodes).into_iter().enumerate() {
        while let Some((_, mask)) = masks.next_if(|(at, _)| *at == i) {
            nodes.push(mask);
        }
        nodes.push(node);
    }
    graph.nodes = nodes;
    rejoin(graph, &analysis.originals);
    checked(PASS, model)
}

/// The classes of positions that go.
fn removed(analysis: &Analysis, removals: &[Removal]) -> Rule<HashSet<usize>> {
    let mut removed = HashSet::new();
    for Removal { group: id, channels } in removals {
        let unknown = || {
            let found = analysis.groups.len();
            Cause::Unsupported(format!("{id} of a model with {found}: groups are those of this very model"))
        };
        let group = analysis.groups.get(id.0).ok_or_else(unknown)?;
        if let Some(fixed) = group.fixed.as_ref().filter(|_| !channels.is_empty()) {
            let by: Vec<&str> = group.producers.iter().map(|p| p.node.as_str()).collect();
            let by = by.join("\", \"");
            return Err(Cause::Unsupported(format!("{id}, made by \"{by}\", cannot lose channels: {fixed}")));
        }
        let of_group = &analysis.classes[id.0];
        for &channel in channels {
            let class = of_group.get(channel).ok_or_else(|| {
                Cause::Unsupported(format!("channel {channel} of {id}, which has {}", of_group.len()))
            })?;
            removed.insert(*class);
        }
        if of_group.iter().all(|class| removed.contains(class)) {
            return Err(Cause::Unsupported(format!("all {} channels of {id}; keep at least one", of_group.len())));
        }
    }
    Ok(removed)
}

/// Makes one initializer of copies that are equal again.
fn rejoin(graph: &mut Graph, originals: &std::collections::HashMap<Value, Value>) {
    for value in graph.nodes.iter_mut().flat_map(|node| node.inputs.iter_mut()).flatten() {
        if let Some(original) = originals.get(value)
            && graph.initializers.get(original) == graph.initializers.get(value)
        {
            *value = original.clone();
        }
    }
    let read: HashSet<&Value> = graph.nodes.iter().flat_map(|node| node.inputs.iter().flatten()).collect();
    graph.initializers.retain(|value, _| !originals.contains_key(value) || read.contains(value));
}
