//! Names of values.

use std::collections::{HashMap, HashSet};

use crate::order::{defined, subgraphs};
use crate::{Graph, Value};

/// The names that are taken.
#[derive(Debug, Default)]
pub(crate) struct Names {
    taken: HashSet<Value>,
    /// How often a taken name was wished for: where the search for the next one begins.
    wishes: HashMap<Value, usize>,
}

impl Names {
    /// Every name of a value in `graph` and the graphs within it.
    pub(crate) fn of(graph: &Graph) -> Self {
        let mut names = Self::default();
        names.add(graph);
        names
    }

    fn add(&mut self, graph: &Graph) {
        self.taken.extend(defined(graph).cloned());
        for inner in graph.nodes.iter().flat_map(subgraphs) {
            self.add(inner);
        }
    }

    /// The value called `wish`, or something like it if that name is taken.
    pub(crate) fn fresh(&mut self, wish: &str) -> Value {
        let wish = Value::from(wish);
        if self.taken.insert(wish.clone()) {
            return wish;
        }
        let n = self.wishes.entry(wish.clone()).or_default();
        loop {
            *n += 1;
            let value = Value::new(format!("{wish}~{n}"));
            if self.taken.insert(value.clone()) {
                return value;
            }
        }
    }
}
