//! Positions along the axes of all values, and which of them can only be removed together: a union-find.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use crate::{Dim, Shaped, Value};

/// The positions of one axis, numbered through the whole model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    first: usize,
    size: usize,
}

impl Slot {
    /// The number of each position, in order.
    pub(crate) fn positions(self) -> Range<usize> {
        self.first..self.first + self.size
    }

    pub(crate) fn size(self) -> usize {
        self.size
    }
}

/// Why channels cannot be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// Name of the node that needs them, or of its first output; empty if the model's input or output does.
    pub node: String,
    /// Its operator; empty if the model's input or output needs them.
    pub operator: String,
    /// Why.
    pub why: String,
}

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.operator.is_empty() {
            write!(f, "node \"{}\" ({}): ", self.node, self.operator)?;
        }
        f.write_str(&self.why)
    }
}

/// Classes of positions that go together.
#[derive(Debug)]
pub(crate) struct Positions {
    /// By value and axis; `None` where nothing can be removed: an axis of size 1 or less, and the batch.
    slots: HashMap<Value, Vec<Option<Slot>>>,
    parents: Vec<usize>,
    /// By representative: an index into `reasons`.
    fixed: Vec<Option<usize>>,
    reasons: Vec<Fixed>,
}

impl Positions {
    /// Every position of `source` in a class of its own.
    pub(crate) fn of(source: &Shaped) -> Self {
        let mut count = 0;
        let mut slots = HashMap::new();
        for value in source.values() {
            let dims = source.facts(value).map_or(&[][..], |facts| &facts.dims);
            let of_value = dims.iter().map(|dim| match *dim {
                Dim::Fixed(size) if size > 1 => {
                    count += size;
                    Some(Slot { first: count - size, size })
                }
                _ => None,
            });
            slots.insert(value.clone(), of_value.collect());
        }
        Self { slots, parents: (0..count).collect(), fixed: vec![None; count], reasons: Vec::new() }
    }

    pub(crate) fn slot(&self, value: &Value, axis: usize) -> Option<Slot> {
        *self.slots.get(value)?.get(axis)?
    }

    /// The axes of `value` along which something could be removed.
    pub(crate) fn slots(&self, value: &Value) -> impl Iterator<Item = (usize, Slot)> {
        let slots = self.slots.get(value).into_iter().flatten().enumerate();
        slots.filter_map(|(axis, slot)| slot.map(|slot| (axis, slot)))
    }

    /// The representative of the class of `position`.
    pub(crate) fn class(&mut self, mut position: usize) -> usize {
        while self.parents[position] != position {
            self.parents[position] = self.parents[self.parents[position]];
            position = self.parents[position];
        }
        position
    }

    /// Makes one class of those of two positions.
    pub(crate) fn tie(&mut self, a: usize, b: usize) {
        let (a, b) = (self.class(a), self.class(b));
        let fixed = self.fixed[a].or(self.fixed[b]);
        self.parents[b] = a;
        self.fixed[a] = fixed;
    }

    /// Notes why these positions cannot be removed, where nothing is noted yet.
    pub(crate) fn fix(&mut self, positions: Range<usize>, why: Fixed) {
        let reason = self.reasons.len();
        self.reasons.push(why);
        for position in positions {
            let class = self.class(position);
            self.fixed[class].get_or_insert(reason);
        }
    }

    /// Why `position` cannot be removed; `None` if it can.
    pub(crate) fn fixed(&mut self, position: usize) -> Option<&Fixed> {
        let class = self.class(position);
        self.fixed[class].map(|reason| &self.reasons[reason])
    }
}
