//! Names of values.

use std::collections::HashSet;

use crate::order::{defined, subgraphs};
use crate::{Graph, Value};

/// The names that are taken.
#[derive(Debug)]
pub(crate) struct Names(HashSet<Value>);

impl Names {
    /// Every name of a value in `graph` and the graphs within it.
    pub(crate) fn of(graph: &Graph) -> Self {
        let mut names = Self(HashSet::new());
        names.add(graph);
        names
    }

    fn add(&mut self, graph: &Graph) {
        self.0.extend(defined(graph).cloned());
        for inner in graph.nodes.iter().flat_map(subgraphs) {
            self.add(inner);
        }
    }

    /// The value called `wish`, or something like it if that name is taken.
    pub(crate) fn fresh(&mut self, wish: &str) -> Value {
        let mut value = Value::from(wish);
        let mut n = 1;
        while !self.0.insert(value.clone()) {
            value = Value::new(format!("{wish}~{n}"));
            n += 1;
        }
        value
    }
}
