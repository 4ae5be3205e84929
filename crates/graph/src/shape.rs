//! Shapes of all values of a model, learned by running it with two batch sizes.

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::{Canonical, DataType, Lowering, Model, Node, Tensor, Value};

/// Size of one dimension as a function of the batch size `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// The same for every batch.
    Fixed(usize),
    /// `k * n`: the batch dimension itself is `Batch(1)`; a `Reshape` may merge another dimension into it.
    Batch(usize),
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Batch(1) => f.write_str("batch"),
            Self::Batch(k) => write!(f, "{k}·batch"),
        }
    }
}

/// What is known about one value.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Element type.
    pub dtype: DataType,
    /// Shape.
    pub dims: Vec<Dim>,
    /// Its content, where that is the same for every input: initializers, and the small results of shape arithmetic.
    pub constant: Option<Tensor>,
}

impl Facts {
    /// What is known of a constant.
    pub(crate) fn of(tensor: &Tensor) -> Self {
        let dims = tensor.dims().iter().map(|&d| Dim::Fixed(d)).collect();
        Self { dtype: tensor.dtype(), dims, constant: Some(tensor.clone()) }
    }
}

/// Facts of every value of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shapes(pub HashMap<Value, Facts>);

/// Why the shapes of a model are not known, or not those of a classifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// Both runs used the same batch size.
    #[error("both probe runs used batch size {batch}; two different sizes are needed")]
    SameBatch {
        /// The size.
        batch: usize,
    },
    /// A size is neither constant nor a multiple of the batch size.
    #[error(
        "value \"{value}\" has shape {first:?} for a batch of {n} and {second:?} for a batch of {m}: every \
         size must be constant or a multiple of the batch size",
        n = batches.0,
        m = batches.1
    )]
    Dims {
        /// The value.
        value: Value,
        /// Both batch sizes.
        batches: (usize, usize),
        /// Shape in the first run.
        first: Vec<usize>,
        /// Shape in the second run.
        second: Vec<usize>,
    },
    /// The element type differs between the runs.
    #[error("value \"{value}\" changes its element type from {first:?} to {second:?} with the batch size")]
    Type {
        /// The value.
        value: Value,
        /// Type in the first run.
        first: DataType,
        /// Type in the second run.
        second: DataType,
    },
    /// A value was not seen in the probe runs.
    #[error("value \"{value}\" was not seen in both probe runs")]
    Missing {
        /// The value.
        value: Value,
    },
    /// The model does not have exactly one floating-point input with a batch dimension.
    #[error("a classifier has one floating-point input [batch, …]; this model's inputs are: {found}")]
    Input {
        /// Its inputs.
        found: String,
    },
    /// The model does not have exactly one output that can be logits.
    #[error(
        "a classifier has one floating-point output [batch, classes], or [batch, classes, 1, 1]; this model's outputs are: {found}. If \
         several are of that form, say which one gives the logits, by its name"
    )]
    Logits {
        /// Its outputs.
        found: String,
    },
    /// Content was given for an initializer that the model has not, or has in another form.
    #[error("the model has no initializer \"{value}\" of type {dtype:?} and shape {dims:?}")]
    NoSuchInitializer {
        /// The name.
        value: Value,
        /// The type that was given.
        dtype: DataType,
        /// The shape that was given.
        dims: Vec<usize>,
    },
    /// The output that was asked for by name is not there, or is not of the form of logits.
    #[error(
        "there is no floating-point output \"{name}\" [batch, classes], or [batch, classes, 1, 1]; this model's outputs are: {found}"
    )]
    NoSuchLogits {
        /// The name.
        name: String,
        /// Its outputs.
        found: String,
    },
}

impl Shapes {
    /// What one run shows of a model that runs with that batch size only: every size is fixed.
    #[must_use]
    pub fn fixed(probe: &Probe) -> Self {
        let facts = |probed: &Probed| {
            let dims = probed.dims.iter().map(|&size| Dim::Fixed(size)).collect();
            Facts { dtype: probed.dtype, dims, constant: probed.content.clone() }
        };
        Self(probe.values.iter().map(|(value, probed)| (value.clone(), facts(probed))).collect())
    }

    /// What two runs of the probe model with different batch sizes show.
    ///
    /// # Errors
    /// The batch sizes are equal, a value is missing in one run, or its size is neither constant nor a multiple of the batch
    /// size.
    pub fn infer(first: &Probe, second: &Probe) -> Result<Self, ShapeError> {
        if first.batch == second.batch {
            return Err(ShapeError::SameBatch { batch: first.batch });
        }
        if let Some(value) = second.values.keys().find(|v| !first.values.contains_key(*v)) {
            return Err(ShapeError::Missing { value: value.clone() });
        }
        let facts = |(value, a): (&Value, &Probed)| {
            let b = second.values.get(value).ok_or_else(|| ShapeError::Missing { value: value.clone() })?;
            if a.dtype != b.dtype {
                return Err(ShapeError::Type { value: value.clone(), first: a.dtype, second: b.dtype });
            }
            let dims = dims(&a.dims, &b.dims, first.batch, second.batch).ok_or_else(|| ShapeError::Dims {
                value: value.clone(),
                batches: (first.batch, second.batch),
                first: a.dims.clone(),
                second: b.dims.clone(),
            })?;
            let constant = a.content.clone().filter(|content| b.content.as_ref() == Some(content));
            Ok((value.clone(), Facts { dtype: a.dtype, dims, constant }))
        };
        first.values.iter().map(facts).collect::<Result<_, _>>().map(Self)
    }
}

/// Each size as a function of the batch size, from its values at `n` and `m`.
fn dims(a: &[usize], b: &[usize], n: usize, m: usize) -> Option<Vec<Dim>> {
    let dim = |(&a, &b): (&usize, &usize)| match a.checked_div(n) {
        _ if a == b => Some(Dim::Fixed(a)),
        Some(k) if k.checked_mul(n) == Some(a) && k.checked_mul(m) == Some(b) => Some(Dim::Batch(k)),
        _ => None,
    };
    (a.len() == b.len()).then(|| a.iter().zip(b).map(dim).collect())?
}

/// What one run of the probe model (see [`Canonical::probe`]) showed.
#[derive(Clone, Debug, Default)]
pub struct Probe {
    /// Batch size of the run.
    pub batch: usize,
    /// Every value of the graph, its inputs too; content only of at most [`Probe::MAX_CONTENT`] elements.
    pub values: HashMap<Value, Probed>,
}

impl Probe {
    /// Elements up to which the content of a value is kept.
    pub const MAX_CONTENT: usize = 4096;
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
    pub(crate) lowering: Lowering,
}

impl Shaped {
    /// `canonical` with the shapes that probe runs showed. Initializers need not be among them.
    ///
    /// Content is taken as constant only where it cannot depend on the input's elements: a mask that happened to be equal in
    /// both runs is not a constant.
    ///
    /// # Errors
    /// An input or the output of a node was not seen.
    pub fn new(canonical: Canonical, mut shapes: Shapes) -> Result<Self, ShapeError> {
        let graph = &canonical.model.graph;
        shapes.0.extend(graph.initializers.iter().map(|(value, tensor)| (value.clone(), Facts::of(tensor))));
        let mut varying: HashSet<&Value> = graph.inputs.iter().map(|i| &i.value).collect();
        let values = varying.iter().copied().chain(graph.nodes.iter().flat_map(|n| n.outputs.iter().flatten()));
        if let Some(value) = values.into_iter().find(|v| !shapes.0.contains_key(*v)) {
            return Err(ShapeError::Missing { value: value.clone() });
        }
        for node in &graph.nodes {
            if depends_on_content(node, &varying) {
                varying.extend(node.outputs.iter().flatten());
            } else if let (Some(from), Some(to), "Identity") = (node.input(0), node.output(0), node.operator.as_str()) {
                let constant = shapes.0.get(from).and_then(|facts| facts.constant.clone());
                if let Some(facts) = shapes.0.get_mut(to) {
                    facts.constant = constant;
                }
            }
        }
        for value in varying {
            if let Some(facts) = shapes.0.get_mut(value) {
                facts.constant = None;
            }
        }
        Ok(Self { canonical, shapes, lowering: Lowering::default() })
    }

    /// The same model; what is derived from it is written for `lowering`.
    #[must_use]
    pub fn lowered_for(self, lowering: Lowering) -> Self {
        Self { lowering, ..self }
    }

    /// The same model with other content in some of its initializers: a snapshot of weights that are being trained.
    ///
    /// # Errors
    /// There is no such initializer, or its type or shape is another.
    pub fn with_initializers(&self, tensors: impl IntoIterator<Item = (Value, Tensor)>) -> Result<Self, ShapeError> {
        let mut shaped = self.clone();
        let mut changed = HashSet::new();
        for (value, tensor) in tensors {
            let slot = shaped.canonical.model.graph.initializers.get_mut(&value);
            let fits = slot.as_ref().is_some_and(|old| old.dtype() == tensor.dtype() && old.dims() == tensor.dims());
            let (Some(slot), true) = (slot, fits) else {
                let (dtype, dims) = (tensor.dtype(), tensor.dims().to_vec());
                return Err(ShapeError::NoSuchInitializer { value, dtype, dims });
            };
            shaped.shapes.0.insert(value.clone(), Facts::of(&tensor));
            *slot = tensor;
            changed.insert(value);
        }
        // What was computed from the old content is not known any more.
        for node in &shaped.canonical.model.graph.nodes {
            if crate::order::reads(node).iter().any(|v| changed.contains(*v)) {
                for value in node.outputs.iter().flatten() {
                    if let Some(facts) = shaped.shapes.0.get_mut(value).filter(|facts| facts.constant.is_some()) {
                        facts.constant = None;
                        changed.insert(value.clone());
                    }
                }
            }
        }
        Ok(shaped)
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Model {
        self.canonical.model()
    }

    /// The model in canonical form.
    #[must_use]
    pub fn canonical(&self) -> &Canonical {
        &self.canonical
    }

    /// The floating-point input `[batch, …]` that the samples go to.
    ///
    /// # Errors
    /// There is none, or there are other inputs.
    pub fn input(&self) -> Result<&Value, ShapeError> {
        let inputs = &self.model().graph.inputs;
        match inputs.as_slice() {
            [input] if self.is_batch_of_floats(&input.value) => Ok(&input.value),
            _ => Err(ShapeError::Input { found: self.describe(inputs.iter().map(|i| &i.value)) }),
        }
    }

    /// The floating-point output `[batch, classes]` that is taken as logits.
    ///
    /// # Errors
    /// No output is of that form, or more than one.
    pub fn logits(&self) -> Result<&Value, ShapeError> {
        self.only_output(|v| self.is_logits(v))
    }

    /// The output that gives a file's logits: the one called `name`, if there is one, else the only one of the form of
    /// [`Shaped::logits`]. It may have further dimensions of size 1, as in fully convolutional nets, which
    /// [`logits`](crate::logits) takes off; where several outputs could be meant, one without them is.
    ///
    /// # Errors
    /// No output is of that form, or more than one; there is no such output called `name`.
    pub fn logits_in_file(&self, name: Option<&str>) -> Result<&Value, ShapeError> {
        let Some(name) = name else {
            return self.logits().or_else(|_| self.only_output(|v| self.is_spatial_logits(v)));
        };
        let outputs = &self.model().graph.outputs;
        let found = outputs.iter().map(|o| &o.value).find(|v| v.as_str() == name);
        found.filter(|v| self.is_spatial_logits(v)).ok_or_else(|| ShapeError::NoSuchLogits {
            name: name.to_owned(),
            found: self.describe(outputs.iter().map(|o| &o.value)),
        })
    }

    fn only_output(&self, is_meant: impl Fn(&Value) -> bool) -> Result<&Value, ShapeError> {
        let outputs = &self.model().graph.outputs;
        let mut candidates = outputs.iter().map(|o| &o.value).filter(|v| is_meant(v));
        match (candidates.next(), candidates.next()) {
            (Some(logits), None) => Ok(logits),
            _ => Err(ShapeError::Logits { found: self.describe(outputs.iter().map(|o| &o.value)) }),
        }
    }

    fn is_logits(&self, value: &Value) -> bool {
        self.is_spatial_logits(value) && self.dims(value).len() == 2
    }

    /// Whether all dimensions but the batch and the classes are 1.
    fn is_spatial_logits(&self, value: &Value) -> bool {
        let [_, sizes @ ..] = self.dims(value) else { return false };
        let positive = sizes.iter().all(|d| matches!(d, Dim::Fixed(size) if *size > 0));
        let long = sizes.iter().filter(|d| **d != Dim::Fixed(1)).count();
        self.is_batch_of_floats(value) && !sizes.is_empty() && positive && long <= 1
    }

    /// Forgets what was known of values that the model no longer has.
    pub(crate) fn forget_unused(&mut self) {
        let left: HashSet<&Value> = crate::order::defined(&self.canonical.model.graph).collect();
        self.shapes.0.retain(|value, _| left.contains(value));
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

    fn dims(&self, value: &Value) -> &[Dim] {
        self.facts(value).map_or(&[], |f| &f.dims)
    }

    fn is_batch_of_floats(&self, value: &Value) -> bool {
        let batch = self.canonical.fixed_batch().map_or(Dim::Batch(1), Dim::Fixed);
        self.facts(value).is_some_and(|f| f.dtype.is_float() && f.dims.first() == Some(&batch))
    }

    /// Names, types and shapes, for messages.
    fn describe<'v>(&self, values: impl Iterator<Item = &'v Value>) -> String {
        let one = |value: &Value| {
            let dims: Vec<String> = self.dims(value).iter().map(Dim::to_string).collect();
            let dtype = self.facts(value).map_or_else(String::new, |f| format!("{:?} ", f.dtype));
            format!("\"{value}\" {dtype}[{}]", dims.join(", "))
        };
        let all: Vec<String> = values.map(one).collect();
        if all.is_empty() { "none".to_owned() } else { all.join(", ") }
    }
}

/// Whether the outputs of `node` may change with the elements of the values in `varying`, not only with their shapes.
fn depends_on_content(node: &Node, varying: &HashSet<&Value>) -> bool {
    let standard = node.domain.is_empty();
    match node.operator.as_str() {
        "Shape" | "Size" if standard => false,
        "RandomNormal" | "RandomUniform" | "RandomNormalLike" | "RandomUniformLike" | "Bernoulli" | "Multinomial"
            if standard =>
        {
            true
        }
        _ => crate::order::reads(node).iter().any(|v| varying.contains(v)),
    }
}
