//! Groups of channels that are made by the same layers, and what goes with each channel.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use super::positions::{Positions, Slot};
use super::separate::{Separate, separate};
use super::{Channels, Fixed, Made};
use crate::{Shaped, Value};

/// Which group of a model: its place in [`groups`] of that model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub(crate) usize);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {}", self.0)
    }
}

/// Channels that are made by the same layers. Each can be removed on its own, with everything that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name within the model that it is of.
    pub id: GroupId,
    /// The layers that make the channels, in the model's order: one, or several whose outputs are added up, multiplied or have
    /// the same weights.
    pub producers: Vec<Producer>,
    /// The layers that the channels end in, in the model's order: those that sum over them.
    pub consumers: Vec<Consumer>,
    /// The nodes that add up branches of the model, these channels among them: names, or first outputs.
    pub sums: Vec<String>,
    /// The channels, in the order in which the first producer makes them.
    pub channels: Vec<Channel>,
    /// Why none of them can be removed; `None` if they can.
    pub fixed: Option<Fixed>,
}

impl Group {
    /// Whether one layer makes the channels and no branches are added up on their way, so that removing them changes no
    /// shortcut: the first convolutions of a residual block, an expansion, a hidden layer. What the procedures for residual nets in
    /// the literature prune.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.producers.len() == 1 && self.sums.is_empty()
    }
}

/// A layer that makes channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Name of the node, or of its first output.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// Its weights: an initializer; or, where they are computed from several, what the node reads.
    pub weight: Value,
    /// The axis of the weights that counts the channels.
    pub axis: usize,
    /// The node's first output.
    pub output: Value,
}

/// A layer that sums over channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Name of the node, or of its first output.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// What it reads the channels from.
    pub input: Value,
    /// The axis that it sums over.
    pub axis: usize,
}

/// One channel: what must go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its part of the model's constants.
    pub weights: Vec<Slice>,
    /// Its part of what is computed, in the model's order.
    pub values: Vec<Slice>,
}

/// Positions along one axis of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The value.
    pub value: Value,
    /// The axis.
    pub axis: usize,
    /// Positions, increasing: one, or as many as a flattened map or a group of a convolution has for a channel.
    pub positions: Vec<usize>,
}

/// The groups of channels of `source`, by the model's order of their first producers. Groups that cannot lose channels are among
/// them, with the reason.
#[must_use]
pub fn groups(source: &Shaped) -> Vec<Group> {
    Analysis::of(source).groups
}

/// Everything that is known about the channels of a model.
#[derive(Debug)]
pub(crate) struct Analysis {
    /// The model, with a copy for each reader of a vector.
    pub(crate) model: Shaped,
    /// Copies, and what they are copies of.
    pub(crate) originals: HashMap<Value, Value>,
    pub(crate) positions: Positions,
    pub(crate) summed: Vec<Summed>,
    pub(crate) groups: Vec<Group>,
    /// By group and channel: the class of its positions.
    pub(crate) classes: Vec<Vec<usize>>,
}

/// A node's sum over an axis of one of its inputs.
#[derive(Debug)]
pub(crate) struct Summed {
    pub(crate) node: usize,
    pub(crate) input: usize,
    pub(crate) value: Value,
    pub(crate) axis: usize,
}

impl Analysis {
    pub(crate) fn of(source: &Shaped) -> Self {
        let Separate { model, originals } = separate(source);
        let Channels { mut positions, made, summed, joins, .. } = Channels::of(&model);
        let mut members = Members::of(&made, &mut positions);
        members.fill(&model, &originals, &mut positions);
        let label = |node: usize| {
            let node = &model.model().graph.nodes[node];
            (node.label().to_owned(), node.operator.clone())
        };
        for (node, sum) in &joins {
            for group in members.touching(sum, None, &mut positions) {
                members.groups[group].sums.push(label(*node).0);
            }
        }
        for Summed { node, value, axis, .. } in &summed {
            for group in members.touching(value, Some(*axis), &mut positions) {
                let (node, operator) = label(*node);
                let consumer = Consumer { node, operator, input: value.clone(), axis: *axis };
                members.groups[group].consumers.push(consumer);
            }
        }
        for (group, makers) in members.groups.iter_mut().zip(&members.makers) {
            group.producers = makers.iter().map(|&i| producer(&made[i], &model, &mut positions)).collect();
        }
        let Members { groups, classes, .. } = members;
        Self { model, originals, positions, summed, groups, classes }
    }
}

/// Which channel of which group the classes of positions are.
struct Members {
    groups: Vec<Group>,
    /// By group: which of the entries of `made` make it.
    makers: Vec<BTreeSet<usize>>,
    classes: Vec<Vec<usize>>,
    /// By class: group and channel.
    of: HashMap<usize, (usize, usize)>,
}

impl Members {
    /// The classes that some layer makes, those of the same layers together.
    fn of(made: &[Made], positions: &mut Positions) -> Self {
        let mut order = Vec::new();
        let mut makers: HashMap<usize, BTreeSet<usize>> = HashMap::new();
        for (i, Made { weight, axis, .. }) in made.iter().enumerate() {
            for position in positions.slot(weight, *axis).into_iter().flat_map(Slot::positions) {
                let class = positions.class(position);
                let of_class = makers.entry(class).or_default();
                if of_class.is_empty() {
                    order.push(class);
                }
                of_class.insert(i);
            }
        }
        let mut members = Self { groups: Vec::new(), makers: Vec::new(), classes: Vec::new(), of: HashMap::new() };
        let mut known: HashMap<(BTreeSet<usize>, bool), usize> = HashMap::new();
        for class in order {
            let fixed = positions.fixed(class).cloned();
            let key = (makers.remove(&class).unwrap_or_default(), fixed.is_some());
            let next = members.groups.len();
            let group = *known.entry(key.clone()).or_insert(next);
            if group == next {
                let (producers, consumers, sums, channels) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
                members.groups.push(Group { id: GroupId(next), producers, consumers, sums, channels, fixed });
                members.makers.push(key.0);
                members.classes.push(Vec::new());
            }
            members.of.insert(class, (group, members.classes[group].len()));
            members.classes[group].push(class);
            members.groups[group].channels.push(Channel { weights: Vec::new(), values: Vec::new() });
        }
        members
    }

    /// Gives every channel its part of the model's values.
    fn fill(&mut self, model: &Shaped, originals: &HashMap<Value, Value>, positions: &mut Positions) {
        let graph = &model.model().graph;
        let computed = graph.nodes.iter().flat_map(|node| node.outputs.iter().flatten());
        let all = graph.initializers.keys().map(|v| (v, true)).chain(computed.map(|v| (v, false)));
        for (value, constant) in all {
            let name = originals.get(value).unwrap_or(value);
            for (axis, slot) in positions.slots(value).collect::<Vec<_>>() {
                for (i, position) in slot.positions().enumerate() {
                    let Some(&(group, channel)) = self.of.get(&positions.class(position)) else { continue };
                    let channel = &mut self.groups[group].channels[channel];
                    let slices = if constant { &mut channel.weights } else { &mut channel.values };
                    match slices.last_mut() {
                        Some(last) if last.value == *name && last.axis == axis => last.positions.push(i),
                        _ => slices.push(Slice { value: name.clone(), axis, positions: vec![i] }),
                    }
                }
            }
        }
    }

    /// The groups that have channels along an axis of `value`, or along any.
    fn touching(&self, value: &Value, axis: Option<usize>, positions: &mut Positions) -> BTreeSet<usize> {
        let slots: Vec<_> = positions.slots(value).filter(|(a, _)| axis.is_none_or(|axis| axis == *a)).collect();
        let all = slots.into_iter().flat_map(|(_, slot)| slot.positions());
        all.filter_map(|position| self.of.get(&positions.class(position)).map(|(group, _)| *group)).collect()
    }
}

/// The layer, with the initializer that its weights come from: an exporter may have put a `Transpose` or the like between.
fn producer(made: &Made, model: &Shaped, positions: &mut Positions) -> Producer {
    let graph = &model.model().graph;
    let node = &graph.nodes[made.node];
    let mut weight = &made.weight;
    while let Some(from) = graph.nodes.iter().find(|n| n.outputs.iter().flatten().any(|o| o == weight)) {
        let Some(input) = from.input(0) else { break };
        weight = input;
    }
    let first = |slot: Slot, positions: &mut Positions| positions.class(slot.positions().start);
    let class = positions.slot(&made.weight, made.axis).map(|slot| first(slot, positions));
    let slots: Vec<_> = positions.slots(weight).collect();
    let axis = slots.into_iter().find(|(_, slot)| slot.positions().any(|p| Some(positions.class(p)) == class));
    let (weight, axis) = axis.map_or((&made.weight, made.axis), |(axis, _)| (weight, axis));
    // The class of another axis may be the same where a layer's weights are shared; its own axis comes first.
    let axis = if *weight == made.weight { made.axis } else { axis };
    Producer {
        node: node.label().to_owned(),
        operator: node.operator.clone(),
        weight: weight.clone(),
        axis,
        output: node.output(0).cloned().unwrap_or_else(|| weight.clone()),
    }
}
