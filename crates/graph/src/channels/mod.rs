//! Which channels of a model must be removed together.
//!
//! Every position along every axis of every value, constants among them, is one element of a union-find ([`positions`]). An
//! operator's rule ([`Operator::channels`](crate::Operator::channels)) ties positions of which none can go without the other: a
//! filter, its bias, the channel it makes, the weights that read it. It says over which axes the operator sums, because there a
//! channel ends: without it the sum is what it would be if the channel were zero. And it fixes what must stay, with the
//! reason. What a rule does not mention is fixed, so that an operator without a rule is refused and never guessed.
//!
//! So it does not matter how channels flow: a concatenation ties with an offset, a flattened map ties blocks, a depthwise
//! convolution ties its input to its output, weights that are used twice tie the layers that use them.

mod groups;
mod positions;
mod pruned;
mod reshape;
mod separate;

use std::collections::{HashMap, HashSet};

pub(crate) use groups::{Analysis, Summed};
pub use groups::{Channel, Consumer, Group, GroupId, Producer, Slice, groups};
pub use positions::Fixed;
use positions::{Positions, Slot};
pub use pruned::Pruned;

use crate::order::{reads, subgraphs};
use crate::{Cause, Dim, Node, Rule, Shaped, Tensor, Value, operator};
use reshape::Product;

/// What rules say about positions: see [`Operator::channels`](crate::Operator::channels).
#[derive(Debug)]
pub struct Channels<'m> {
    source: &'m Shaped,
    positions: Positions,
    /// Values that depend on the model's input; all others follow from constants.
    computed: HashSet<Value>,
    /// Values that follow element by element from one other value, and that value.
    origins: HashMap<Value, Value>,
    /// Where the walk is.
    node: usize,
    /// What the rule of this node mentioned.
    mentioned: HashSet<Slot>,
    products: Vec<Product>,
    made: Vec<Made>,
    summed: Vec<Summed>,
    /// Nodes that add up branches, and their sums.
    joins: Vec<(usize, Value)>,
}

/// A constant whose positions along an axis are the channels that a node makes.
#[derive(Debug)]
struct Made {
    node: usize,
    weight: Value,
    axis: usize,
}

impl<'m> Channels<'m> {
    /// What the rules of all nodes of `source` say.
    fn of(source: &'m Shaped) -> Self {
        let graph = &source.model().graph;
        let mut c = Self {
            source,
            positions: Positions::of(source),
            computed: graph.inputs.iter().map(|input| input.value.clone()).collect(),
            origins: HashMap::new(),
            node: 0,
            mentioned: HashSet::new(),
            products: Vec::new(),
            made: Vec::new(),
            summed: Vec::new(),
            joins: Vec::new(),
        };
        for (infos, what) in [(&graph.inputs, "input"), (&graph.outputs, "output")] {
            for info in infos {
                c.fix_all(&info.value, &of_model(format!("\"{}\" is an {what} of the model", info.value)));
            }
        }
        for (i, node) in graph.nodes.iter().enumerate() {
            c.node = i;
            c.walk(node);
        }
        reshape::resolve(&mut c);
        c
    }

    fn walk(&mut self, node: &Node) {
        if reads(node).iter().any(|value| self.computed.contains(*value)) {
            self.computed.extend(node.outputs.iter().flatten().cloned());
        }
        self.mentioned.clear();
        let rule = operator(&node.operator).filter(|_| node.domain.is_empty() && subgraphs(node).next().is_none());
        let said = rule.map_or(Err(Cause::NoRule), |rule| rule.channels(node, self));
        let said = said.map_err(|cause| cause.to_string());
        let missing = |value: &&&Value, c: &Self| c.positions.slots(value).any(|(_, s)| !c.mentioned.contains(&s));
        let outputs: Vec<&Value> = node.outputs.iter().flatten().collect();
        let refused = match (said, outputs.iter().find(|value| missing(value, self))) {
            (Err(why), _) => Some(why),
            // What makes it up is not known, so nothing that goes in may go.
            (Ok(()), Some(value)) => Some(format!("nothing is known of all axes of its output \"{value}\"")),
            (Ok(()), None) => None,
        };
        let why = self.because(refused.as_deref().unwrap_or("it depends on every position of this axis"));
        for value in reads(node).into_iter().chain(outputs) {
            let slots: Vec<Slot> = self.positions.slots(value).map(|(_, slot)| slot).collect();
            for slot in slots.into_iter().filter(|slot| refused.is_some() || !self.mentioned.contains(slot)) {
                self.positions.fix(slot.positions(), why.clone());
            }
        }
    }

    /// Shape of a value.
    ///
    /// # Errors
    /// It is not of the model: a defect of the rule.
    pub fn dims(&self, value: &Value) -> Rule<&'m [Dim]> {
        let facts = self.source.facts(value);
        facts.map(|f| &*f.dims).ok_or_else(|| Cause::Malformed(format!("value \"{value}\" has no known shape")))
    }

    /// Size of an axis; for the batch that of one sample.
    ///
    /// # Errors
    /// There is no such axis.
    pub fn size(&self, value: &Value, axis: usize) -> Rule<usize> {
        match self.dims(value)?.get(axis) {
            Some(Dim::Fixed(size) | Dim::Batch(size)) => Ok(*size),
            None => Err(Cause::Malformed(format!("axis {axis} of \"{value}\", which has fewer"))),
        }
    }

    /// Content of a value that is the same for every input.
    #[must_use]
    pub fn constant(&self, value: &Value) -> Option<&'m Tensor> {
        self.source.constant(value)
    }

    /// Integers of a constant input; `None` if it is absent.
    ///
    /// # Errors
    /// It is computed, or does not hold integers.
    pub fn ints(&self, node: &Node, input: usize) -> Rule<Option<Vec<i64>>> {
        let Some(value) = node.input(input) else { return Ok(None) };
        let constant = self.source.constant(value);
        let constant = constant
            .ok_or_else(|| Cause::Unsupported(format!("input {input} (\"{value}\") is computed; it must be constant")));
        let ints = constant?.to_i64();
        ints.map(Some).ok_or_else(|| Cause::Malformed(format!("input {input} (\"{value}\") must hold integers")))
    }

    /// Position `i` of axis `a` of `x` goes with position `i` of axis `b` of `y`, for all of them. An axis of size 1 is left
    /// alone: it is repeated, and is never removed.
    pub fn carry(&mut self, x: &Value, a: usize, y: &Value, b: usize) {
        match (self.mention(x, a), self.mention(y, b)) {
            (Some(x), Some(y)) if x.size() == y.size() => {
                x.positions().zip(y.positions()).for_each(|(x, y)| self.positions.tie(x, y));
            }
            (Some(_), Some(_)) => {
                self.fix(x, a, "it has another size behind the node");
                self.fix(y, b, "it has another size before the node");
            }
            _ => {}
        }
    }

    /// Position `i` of axis `a` of `x` goes with position `j` of axis `b` of `y`. Of an axis of size 1 the other one is fixed.
    pub fn tie(&mut self, (x, a, i): (&Value, usize, usize), (y, b, j): (&Value, usize, usize)) {
        let at = |slot: Option<Slot>, i: usize| slot.and_then(|slot| slot.positions().nth(i));
        let (p, q) = (at(self.mention(x, a), i), at(self.mention(y, b), j));
        match (p, q) {
            (Some(p), Some(q)) => self.positions.tie(p, q),
            (Some(only), None) | (None, Some(only)) => {
                let why = self.because("nothing would be left without it");
                self.positions.fix(only..only + 1, why);
            }
            (None, None) => {}
        }
    }

    /// No position of axis `a` of `x` may go.
    pub fn fix(&mut self, x: &Value, a: usize, why: &str) {
        if let Some(slot) = self.mention(x, a) {
            let why = self.because(why);
            self.positions.fix(slot.positions(), why);
        }
    }

    /// Position `i` of axis `a` of `x` must stay.
    pub fn fix_at(&mut self, x: &Value, a: usize, i: usize, why: &str) {
        if let Some(position) = self.mention(x, a).and_then(|slot| slot.positions().nth(i)) {
            let why = self.because(why);
            self.positions.fix(position..position + 1, why);
        }
    }

    /// [`Channels::fix`] for all axes of `x` from `from` on.
    pub fn fix_from(&mut self, x: &Value, from: usize, why: &str) {
        let axes: Vec<usize> = self.positions.slots(x).map(|(axis, _)| axis).filter(|&axis| axis >= from).collect();
        axes.into_iter().for_each(|axis| self.fix(x, axis, why));
    }

    /// Axis `a` of `x` may lose positions, whatever else does: the node makes them by repetition.
    pub fn free(&mut self, x: &Value, a: usize) {
        self.mention(x, a);
    }

    /// The first output is made element by element from inputs that are broadcast to its shape.
    ///
    /// # Errors
    /// A shape contradicts that.
    pub fn elementwise(&mut self, node: &Node) -> Rule<()> {
        let y = node.output(0).ok_or_else(|| Cause::Malformed("output 0 is required".into()))?;
        for x in node.inputs.iter().flatten() {
            self.broadcast(x, y)?;
        }
        let origins = self.origins_of(node);
        if let [origin] = origins[..] {
            let origin = origin.clone();
            self.origins.insert(y.clone(), origin);
        }
        Ok(())
    }

    /// As [`Channels::elementwise`], of an operator that adds up its inputs: where several of them are computed, branches of
    /// the model meet.
    ///
    /// # Errors
    /// As [`Channels::elementwise`].
    pub fn terms(&mut self, node: &Node) -> Rule<()> {
        self.elementwise(node)?;
        if self.origins_of(node).len() > 1 {
            self.joins.extend(node.output(0).map(|y| (self.node, y.clone())));
        }
        Ok(())
    }

    /// What the computed inputs of `node` are made from element by element, each once.
    fn origins_of<'n>(&'n self, node: &'n Node) -> Vec<&'n Value> {
        let computed = node.inputs.iter().flatten().filter(|x| self.computed.contains(*x));
        let mut origins: Vec<&Value> = computed.map(|x| self.origins.get(x).unwrap_or(x)).collect();
        origins.sort_unstable();
        origins.dedup();
        origins
    }

    /// `x` is broadcast to the shape of `y`.
    ///
    /// # Errors
    /// It has more axes.
    pub fn broadcast(&mut self, x: &Value, y: &Value) -> Rule<()> {
        let rank = self.dims(x)?.len();
        let lead = self.dims(y)?.len().checked_sub(rank);
        let lead = lead.ok_or_else(|| Cause::Malformed(format!("\"{x}\" does not broadcast to \"{y}\"")))?;
        (0..rank).for_each(|axis| self.carry(x, axis, y, axis + lead));
        Ok(())
    }

    /// The first output has the shape of the first input, and its positions follow from the same ones of the input along all axes but
    /// those for which `stays` says so: these are fixed.
    ///
    /// # Errors
    /// The first input or output is absent.
    pub fn all_but(&mut self, node: &Node, stays: impl Fn(usize) -> bool, why: &str) -> Rule<()> {
        let x = node.required(0)?;
        let y = node.output(0).ok_or_else(|| Cause::Malformed("output 0 is required".into()))?;
        for axis in 0..self.dims(x)?.len() {
            if stays(axis) {
                self.fix(x, axis, why);
                self.fix(y, axis, why);
            } else {
                self.carry(x, axis, y, axis);
            }
        }
        Ok(())
    }

    /// The node sums over axis `axis` of its input `input`, each position times something that the rule tied to it: without a
    /// position the sum is as if it were zero.
    pub fn sums_over(&mut self, node: &Node, input: usize, axis: usize) {
        if let Some(value) = node.input(input).filter(|value| self.mention(value, axis).is_some()) {
            self.summed.push(Summed { node: self.node, input, value: value.clone(), axis });
        }
    }

    /// [`Channels::sums_over`] for products of the first two inputs, along one axis of each: of the one that is computed.
    pub fn sums_products(&mut self, node: &Node, axes: [usize; 2]) {
        let input = usize::from(!node.input(0).is_some_and(|x| self.computed.contains(x)));
        self.sums_over(node, input, axes[input]);
    }

    /// Input `input` of the node holds weights, if it follows from constants, and its positions along `axis` are the channels
    /// that the node makes.
    pub fn makes(&mut self, node: &Node, input: usize, axis: usize) {
        if let Some(weight) = node.input(input).filter(|value| !self.computed.contains(*value)) {
            self.made.push(Made { node: self.node, weight: weight.clone(), axis });
        }
    }

    /// Whether `value` depends on the model's input.
    #[must_use]
    pub fn is_computed(&self, value: &Value) -> bool {
        self.computed.contains(value)
    }

    fn mention(&mut self, value: &Value, axis: usize) -> Option<Slot> {
        let slot = self.positions.slot(value, axis)?;
        self.mentioned.insert(slot);
        Some(slot)
    }

    fn fix_all(&mut self, value: &Value, why: &Fixed) {
        let slots: Vec<Slot> = self.positions.slots(value).map(|(_, slot)| slot).collect();
        slots.into_iter().for_each(|slot| self.positions.fix(slot.positions(), why.clone()));
    }

    /// `why`, of the node where the walk is.
    fn because(&self, why: &str) -> Fixed {
        self.because_of(self.node, why)
    }

    fn because_of(&self, node: usize, why: &str) -> Fixed {
        let node = &self.source.model().graph.nodes[node];
        Fixed { node: node.label().to_owned(), operator: node.operator.clone(), why: why.to_owned() }
    }
}

fn of_model(why: String) -> Fixed {
    Fixed { node: String::new(), operator: String::new(), why }
}
