//! What unstructured pruning left dead, removed: channels that nobody reads, and channels that are one number for every input.
//!
//! A filter of zeros makes its bias everywhere. What that is behind the operators that follow is known where each of them makes one
//! number of one number ([`Operator::uniform`](crate::Operator::uniform)). A layer that sums over such a channel adds a constant,
//! which is zero or goes into its bias; unless the layer pads, because then its borders add less. A channel whose readers have only
//! zeros for it can go too. Then filters that only such channels need are dead as well, and so on.

use std::collections::{HashMap, HashSet};

use super::prune::cut;
use crate::channels::{Analysis, Pruned, Summed};
use crate::names::Names;
use crate::order::drop_unused;
use crate::{Attribute, Class, Facts, Graph, Model, Node, Shaped, Tensor, TransformError, Value, operator};

const PASS: &str = "compact";

/// `source` without dead channels. It computes what `source` does, but for rounding, with less work. Of channels that are made
/// together one is left, even if all are dead.
///
/// # Errors
/// The result does not pass the check: a defect of assay.
pub fn compact(source: &Shaped) -> Result<Model, TransformError> {
    let (biased, added) = with_biases(source);
    let mut analysis = Analysis::of(&biased);
    let mut work = Work::of(&mut analysis);
    while work.round() {}
    let Work { dead, tensors, changed, .. } = work;
    for (value, tensor) in &mut analysis.model.canonical.model.graph.initializers {
        if let Some(numbers) = tensors.get(value).filter(|_| changed.contains(value)) {
            *tensor = Tensor::rounded(tensor.dtype(), tensor.dims(), numbers);
        }
    }
    let removed = removable(&mut analysis, &dead);
    let mut model = cut(PASS, &mut analysis, &removed)?;
    without_zeros(&mut model.graph, &added);
    Ok(model)
}

/// `source` with a bias of zeros for each convolution and dense layer that has none, and their names.
fn with_biases(source: &Shaped) -> (Shaped, HashSet<Value>) {
    let mut biased = source.clone();
    let graph = &mut biased.canonical.model.graph;
    let mut names = Names::of(graph);
    let mut added = HashSet::new();
    for node in &mut graph.nodes {
        let Some(made) = made_axis(node).filter(|_| node.input(2).is_none()) else { continue };
        let Some(weight) = node.input(1).and_then(|weight| graph.initializers.get(weight)) else { continue };
        let Some(&size) = weight.dims().get(made).filter(|_| weight.dtype().is_float()) else { continue };
        let bias = names.fresh(&format!("{PASS}/{}/bias", node.label()));
        let zeros = Tensor::rounded(weight.dtype(), &[size], &vec![0.0; size]);
        node.inputs.truncate(2);
        node.inputs.push(Some(bias.clone()));
        biased.shapes.0.insert(bias.clone(), Facts::of(&zeros));
        graph.initializers.insert(bias.clone(), zeros);
        added.insert(bias);
    }
    (biased, added)
}

/// Takes biases of zeros away again.
fn without_zeros(graph: &mut Graph, added: &HashSet<Value>) {
    for node in &mut graph.nodes {
        let bias = node.input(2).filter(|bias| added.contains(*bias)).and_then(|bias| graph.initializers.get(bias));
        if bias.and_then(Tensor::to_f64).is_some_and(|numbers| numbers.iter().all(|&n| n == 0.0)) {
            node.inputs.truncate(2);
        }
    }
    drop_unused(graph);
}

/// The axis of the weights that counts the channels that a layer makes, of layers that can have a bias.
fn made_axis(node: &Node) -> Option<usize> {
    match node.operator.as_str() {
        _ if !node.domain.is_empty() => None,
        "Conv" => Some(0),
        "Gemm" => Some(usize::from(node.int("transB", 0) == Ok(0))),
        _ => None,
    }
}

/// Those of the dead classes that can go so that something is left of every group and value.
fn removable(analysis: &mut Analysis, dead: &HashSet<usize>) -> HashSet<usize> {
    let mut removed = HashSet::new();
    for classes in analysis.classes.clone() {
        let lives = classes.iter().any(|class| !dead.contains(class));
        let goes = classes.into_iter().filter(|class| dead.contains(class)).skip(usize::from(!lives));
        let before = removed.clone();
        removed.extend(goes);
        if removed.len() > before.len() && Pruned::of(analysis, &|class| removed.contains(&class)).is_err() {
            removed = before;
        }
    }
    removed
}

/// Where channels are in a value: axis and position, by class.
type Places = HashMap<usize, Vec<(usize, usize)>>;

/// The number that a value is everywhere in a channel, by value and class.
type Known<'a> = HashMap<&'a Value, HashMap<usize, f64>>;

struct Work<'a> {
    model: &'a Shaped,
    summed: &'a [Summed],
    /// Of the channels that can be removed.
    places: HashMap<&'a Value, Places>,
    /// Content of the floating-point constants.
    tensors: HashMap<Value, Vec<f64>>,
    /// Those of them that are not what they were.
    changed: HashSet<Value>,
    /// The numbers that constants are in channels; without those whose content has changed since.
    constants: Known<'a>,
    /// How many nodes read a value.
    readers: HashMap<&'a Value, usize>,
    dead: HashSet<usize>,
}

/// What a layer needs where a channel goes.
enum Remedy {
    /// The channel adds nothing to it.
    Nothing,
    /// The channel is this number, and what that adds goes into the layer's bias.
    Bias(f64),
}

impl<'a> Work<'a> {
    fn of(analysis: &'a mut Analysis) -> Self {
        let Analysis { model, positions, summed, groups, classes, .. } = analysis;
        let model: &'a Shaped = model;
        let free = groups.iter().zip(&*classes).filter(|(group, _)| group.fixed.is_none());
        let free: HashSet<usize> = free.flat_map(|(_, classes)| classes.iter().copied()).collect();
        let graph = &model.model().graph;
        let mut places: HashMap<&Value, Places> = HashMap::new();
        for value in model.values() {
            for (axis, slot) in positions.slots(value).collect::<Vec<_>>() {
                for (i, position) in slot.positions().enumerate() {
                    let class = positions.class(position);
                    if free.contains(&class) {
                        places.entry(value).or_default().entry(class).or_default().push((axis, i));
                    }
                }
            }
        }
        let floats = graph.initializers.iter().filter(|(_, tensor)| tensor.dtype().is_float());
        let tensors = floats.filter_map(|(value, tensor)| Some((value.clone(), tensor.to_f64()?))).collect();
        let mut readers: HashMap<&Value, usize> = HashMap::new();
        for value in graph.nodes.iter().flat_map(|node| node.inputs.iter().flatten()) {
            *readers.entry(value).or_default() += 1;
        }
        let (changed, constants, dead) = (HashSet::new(), HashMap::new(), HashSet::new());
        Self { model, summed, places, tensors, changed, constants, readers, dead }
    }

    /// Finds the channels that are dead now, and gives their weights zeros, so that others may be dead in the next round.
    /// `false` if there are none.
    fn round(&mut self) -> bool {
        self.refresh();
        let known = self.known();
        let mut sums: HashMap<usize, Vec<&'a Summed>> = HashMap::new();
        for summed in self.summed {
            for class in self.places.get(&summed.value).into_iter().flat_map(HashMap::keys) {
                sums.entry(*class).or_default().push(summed);
            }
        }
        let mut classes: Vec<usize> = self.places.values().flat_map(|places| places.keys().copied()).collect();
        classes.sort_unstable();
        classes.dedup();
        classes.retain(|class| !self.dead.contains(class));
        let before = self.dead.len();
        for class in classes {
            let readers = sums.get(&class).map_or(&[][..], Vec::as_slice);
            let remedies: Option<Vec<Remedy>> =
                readers.iter().map(|summed| self.remedy(summed, class, &known)).collect();
            let Some(remedies) = remedies else { continue };
            for (summed, remedy) in readers.iter().zip(remedies) {
                if let Remedy::Bias(number) = remedy {
                    self.fold(summed, class, number);
                }
            }
            self.silence(class);
            self.dead.insert(class);
        }
        self.dead.len() > before
    }

    /// Looks anew at the constants that have changed.
    fn refresh(&mut self) {
        let stale = |value: &&Value| self.tensors.contains_key(*value) && !self.constants.contains_key(*value);
        let fresh: Vec<(&Value, HashMap<usize, f64>)> = (self.places.iter())
            .filter(|(value, _)| stale(value))
            .map(|(&value, places)| {
                let numbers = &self.tensors[value];
                let uniform = |(&class, places): (&usize, &Vec<(usize, usize)>)| {
                    let elements = places.iter().flat_map(|&place| self.elements(value, place));
                    Some((class, only(elements.map(|i| numbers[i]))?))
                };
                (value, places.iter().filter_map(uniform).collect())
            })
            .collect();
        self.constants.extend(fresh);
    }

    /// Changes numbers of a constant.
    fn change(&mut self, value: &Value, edit: impl FnOnce(&mut [f64])) {
        if let Some(numbers) = self.tensors.get_mut(value) {
            edit(numbers);
            self.constants.remove(value);
            self.changed.insert(value.clone());
        }
    }

    /// The numbers that computed values are in channels.
    fn known(&self) -> Known<'a> {
        let mut known: Known<'a> = HashMap::new();
        for node in &self.model.model().graph.nodes {
            let Some(rule) = operator(&node.operator).filter(|_| node.domain.is_empty()) else { continue };
            for output in node.outputs.iter().flatten() {
                let Some(places) = self.places.get(output) else { continue };
                let uniform = |class: usize| {
                    if rule.class() == Class::ShapeOnly {
                        let holders = node.inputs.iter().flatten().filter(|x| self.holds(x, class));
                        let numbers: Option<Vec<f64>> = holders.map(|x| self.number(x, class, &known)).collect();
                        return only(numbers?.into_iter());
                    }
                    let numbers = node.inputs.iter().map(|x| self.number(x.as_ref()?, class, &known));
                    rule.uniform(node, &numbers.collect::<Vec<_>>())
                };
                let numbers = places.keys().filter_map(|&class| Some((class, uniform(class)?))).collect();
                known.insert(output, numbers);
            }
        }
        known
    }

    fn holds(&self, value: &Value, class: usize) -> bool {
        self.places.get(value).is_some_and(|places| places.contains_key(&class))
    }

    /// The number that `value` is everywhere in a channel; of a constant without that channel the number that it is everywhere.
    fn number(&self, value: &Value, class: usize, known: &Known<'_>) -> Option<f64> {
        match self.tensors.get(value) {
            Some(numbers) if !self.holds(value, class) => only(numbers.iter().copied()),
            Some(_) => self.constants.get(value)?.get(&class).copied(),
            None => known.get(value)?.get(&class).copied(),
        }
    }

    /// The elements of a constant at a position of an axis.
    fn elements(&self, value: &Value, (axis, position): (usize, usize)) -> impl Iterator<Item = usize> + use<> {
        let dims = self.model.model().graph.initializers.get(value).map_or(&[][..], Tensor::dims);
        let row: usize = dims.iter().skip(axis + 1).product();
        let block = row * dims.get(axis).copied().unwrap_or(0);
        let blocks: usize = dims.iter().take(axis).product();
        (0..blocks).flat_map(move |b| (0..row).map(move |i| b * block + position * row + i))
    }

    /// What a layer that sums over a channel needs where it goes; `None` if it cannot do without.
    fn remedy(&self, summed: &Summed, class: usize, known: &Known<'_>) -> Option<Remedy> {
        let node = &self.model.model().graph.nodes[summed.node];
        let number = self.number(&summed.value, class, known);
        // The factors; a bias is no factor.
        let factors = node.inputs.iter().take(2).enumerate().filter(|(i, _)| *i != summed.input);
        let mut others = factors.filter_map(|(_, x)| x.as_ref()).filter(|x| self.holds(x, class));
        if number == Some(0.0) || others.any(|x| self.number(x, class, known) == Some(0.0)) {
            return Some(Remedy::Nothing);
        }
        (summed.input == 0 && self.takes_constants(node)?).then_some(Remedy::Bias(number?))
    }

    /// Whether what a constant channel adds to a layer is the same everywhere, and can go into a bias of its own.
    fn takes_constants(&self, node: &Node) -> Option<bool> {
        let (made, weight, bias) = (made_axis(node)?, node.input(1)?, node.input(2)?);
        let own = |v: &Value| self.tensors.contains_key(v) && self.readers.get(v) == Some(&1);
        let channels = self.model.model().graph.initializers.get(weight)?.dims().get(made)?;
        let fits = if node.operator == "Conv" {
            let pads = node.ints("pads").ok()?.unwrap_or(&[]);
            let same = node.text("auto_pad", "NOTSET").ok()?.starts_with("SAME");
            pads.iter().all(|&pad| pad == 0) && !same && node.int("group", 1) == Ok(1)
        } else {
            node.int("transA", 0) == Ok(0) && node.float("beta", 1.0) == Ok(1.0)
        };
        Some(fits && own(weight) && own(bias) && self.tensors[bias].len() == *channels)
    }

    /// Adds to a layer's bias what a channel that is `number` everywhere adds to its sums.
    fn fold(&mut self, summed: &Summed, class: usize, number: f64) {
        let node = &self.model.model().graph.nodes[summed.node];
        let (Some(weight), Some(bias), Some(made)) = (node.input(1), node.input(2), made_axis(node)) else { return };
        let dims = self.model.model().graph.initializers.get(weight).map_or(&[][..], Tensor::dims);
        let (row, channels): (usize, usize) = (dims[made + 1..].iter().product(), dims[made]);
        let alpha = match node.attributes.get("alpha") {
            Some(&Attribute::Float(alpha)) => f64::from(alpha),
            _ => 1.0,
        };
        let places = self.places.get(weight).and_then(|places| places.get(&class)).into_iter().flatten();
        let read = places.filter(|(axis, _)| *axis != made).flat_map(|&place| self.elements(weight, place));
        let added: Vec<(usize, f64)> =
            read.map(|i| (i / row % channels, self.tensors[weight][i] * alpha * number)).collect();
        self.change(bias, |numbers| added.into_iter().for_each(|(channel, number)| numbers[channel] += number));
    }

    /// Gives the weights of the layers that make a channel, and of those that sum over it, zeros for it.
    fn silence(&mut self, class: usize) {
        let layers = self.model.model().graph.nodes.iter().filter(|node| {
            let weighs = matches!(node.operator.as_str(), "Conv" | "ConvTranspose" | "Gemm" | "MatMul");
            weighs && node.domain.is_empty()
        });
        for weight in layers.flat_map(|node| node.inputs.iter().take(2).flatten()) {
            let Some(places) = self.places.get(weight).and_then(|places| places.get(&class)) else { continue };
            let elements: Vec<usize> = places.iter().flat_map(|&place| self.elements(weight, place)).collect();
            self.change(weight, |numbers| elements.into_iter().for_each(|i| numbers[i] = 0.0));
        }
    }
}

/// The number that all of them are; `None` if there are none, or several.
fn only(mut numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let first = numbers.next()?;
    numbers.all(|number| number == first).then_some(first)
}
