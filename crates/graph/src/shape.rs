//! Shapes of all values of a model, learned by running it with two batch sizes.

use std::collections::HashMap;

use crate::{Canonical, DataType, Tensor, Value};

/// Size of one dimension as a function of the batch size `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// The same for every batch.
    Fixed(usize),
    /// `k * n`: the batch dimension itself is `Batch(1)`; a `Reshape` may merge another dimension into it.
    Batch(usize),
}

/// What is known about one value.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Element type.
    pub dtype: DataType,
    /// Shape.
    pub dims: Vec<Dim>,
    /// Its content, where that is the same for every input: initializers, and the integers of shape arithmetic.
    pub constant: Option<Tensor>,
}

/// Facts of every value of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shapes(pub HashMap<Value, Facts>);

/// What one run of the probe model (see [`Canonical::probe`]) showed.
#[derive(Clone, Debug, Default)]
pub struct Probe {
    /// Batch size of the run.
    pub batch: usize,
    /// Every value of the graph; content only for integers and booleans of at most [`Probe::MAX_CONTENT`] elements.
    pub values: HashMap<Value, Probed>,
}

/// One value as a probe run saw it.
#[derive(Clone, Debug)]
pub struct Probed {
    /// Element type.
    pub dtype: DataType,
    /// Shape in this run.
    pub dims: Vec<usize>,
    /// Content, if it was kept.
    pub content: Option<Tensor>,
}

/// A canonical model whose values all have known shapes: what transformations take.
#[derive(Clone, Debug)]
pub struct Shaped {
    pub(crate) canonical: Canonical,
    pub(crate) shapes: Shapes,
}

impl Shaped {
    /// The model.
    #[must_use]
    pub fn model(&self) -> &crate::Model {
        self.canonical.model()
    }

    /// What is known about `value`.
    #[must_use]
    pub fn facts(&self, value: &Value) -> Option<&Facts> {
        self.shapes.0.get(value)
    }

    /// Content of `value`, if it is the same for every input.
    #[must_use]
    pub fn constant(&self, value: &Value) -> Option<&Tensor> {
        self.facts(value)?.constant.as_ref()
    }

    /// All values of the model.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.shapes.0.keys()
    }
}
