//! Small models to test with, each in a line.

use assay_graph::{Attribute, DataType, Dimension, Graph, Model, Node, Value, ValueInfo};

use crate::array::Array;
use crate::interpret::run;
use crate::random::{Random, Values};

/// A model and what its inputs hold.
///
/// ```
/// use assay_reference::{Array, Case, Values};
///
/// let case = Case::op("Clip")
///     .batched(&[3], Values::away(-2.0, 2.0, &[-1.0, 1.0]))
///     .constant(Array::floats(&[], vec![-1.0]))
///     .constant(Array::floats(&[], vec![1.0]));
/// assert_eq!(case.values(&case.inputs(2))[0].dims(), [2, 3]);
/// ```
#[derive(Clone, Debug)]
pub struct Case {
    name: String,
    model: Model,
    inputs: Vec<Input>,
    constants: usize,
}

/// One input of the graph.
#[derive(Clone, Debug)]
struct Input {
    name: String,
    dims: Vec<usize>,
    batched: bool,
    values: Values,
    dtype: DataType,
}

impl Case {
    /// One node of `operator` at opset 17, with one output. Its inputs follow in their order.
    #[must_use]
    pub fn op(operator: &str) -> Self {
        let mut node = Node::new(operator, Vec::new(), vec![Some(Value::new("y0"))]);
        node.name = "node".into();
        let mut graph = Graph::default();
        graph.nodes.push(node);
        Self { name: operator.to_owned(), model: Model::new(17, graph), inputs: Vec::new(), constants: 0 }
    }

    /// A model of several nodes; every input of its graph must be described by [`Case::feed`].
    #[must_use]
    pub fn graph(name: &str, model: Model) -> Self {
        Self { name: name.to_owned(), model, inputs: Vec::new(), constants: 0 }
    }

    /// Puts `text` behind the name that messages call the case by.
    #[must_use]
    pub fn named(mut self, text: &str) -> Self {
        self.name = format!("{}, {text}", self.name);
        self
    }

    /// Another opset.
    #[must_use]
    pub fn opset(mut self, version: i64) -> Self {
        self.model = Model::new(version, self.model.graph);
        self
    }

    /// The next input: f32 (or what the values are) of shape `[n, dims..]`, where `n` is the batch.
    #[must_use]
    pub fn batched(self, dims: &[usize], values: Values) -> Self {
        self.input(dims, values, true)
    }

    /// The next input: a graph input of a shape that does not depend on the batch.
    #[must_use]
    pub fn fixed(self, dims: &[usize], values: Values) -> Self {
        self.input(dims, values, false)
    }

    /// The next input: an initializer.
    #[must_use]
    #[allow(clippy::needless_pass_by_value)] // So that cases read well.
    pub fn constant(mut self, array: Array) -> Self {
        let value = Value::new(format!("c{}", self.constants));
        self.constants += 1;
        self.model.graph.initializers.insert(value.clone(), array.to_tensor());
        self.node_inputs().push(Some(value));
        self
    }

    /// The next input: an initializer with random content, rounded to f32.
    #[must_use]
    pub fn weights(self, dims: &[usize], values: &Values) -> Self {
        let seed = 1000 + self.constants as u64;
        self.constant(Random::new(seed).array(dims, values))
    }

    /// The next input: a list of i64.
    #[must_use]
    pub fn ints(self, list: &[i64]) -> Self {
        self.constant(Array::ints(&[list.len()], list.to_vec()))
    }

    /// The next input: an f32 scalar.
    #[must_use]
    pub fn scalar(self, number: f64) -> Self {
        self.constant(Array::floats(&[], vec![number]))
    }

    /// The next input is absent.
    #[must_use]
    pub fn absent(mut self) -> Self {
        self.node_inputs().push(None);
        self
    }

    /// An attribute of the node. It also enters the name of the case.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl Into<Attribute>) -> Self {
        let value = value.into();
        let shown = match &value {
            Attribute::Int(v) => v.to_string(),
            Attribute::Float(v) => v.to_string(),
            Attribute::Ints(v) => format!("{v:?}"),
            Attribute::String(v) => String::from_utf8_lossy(v).into_owned(),
            other => format!("{other:?}"),
        };
        self.name = format!("{} {name}={shown}", self.name);
        self.model.graph.nodes[0].attributes.insert(name.to_owned(), value);
        self
    }

    /// Number of outputs of the node.
    #[must_use]
    pub fn outputs(mut self, count: usize) -> Self {
        self.model.graph.nodes[0].outputs = (0..count).map(|i| Some(Value::new(format!("y{i}")))).collect();
        self
    }

    /// What the input `name` of a [`Case::graph`] holds: shape `[n, dims..]` if its first dimension is a symbol in the
    /// graph, else `dims`.
    #[must_use]
    pub fn feed(mut self, name: &str, dims: &[usize], values: Values) -> Self {
        let info = self.model.graph.inputs.iter().find(|i| i.value.as_str() == name);
        let batched = info.is_some_and(is_batched);
        let dtype = info.and_then(|i| i.dtype).unwrap_or(DataType::Float);
        self.inputs.push(Input { name: name.to_owned(), dims: dims.to_vec(), batched, values, dtype });
        self
    }

    /// All f32 inputs and constants as f64: to see that a rule does not assume f32.
    #[must_use]
    pub fn double(mut self) -> Self {
        for input in &mut self.inputs {
            if input.dtype == DataType::Float {
                input.dtype = DataType::Double;
            }
        }
        for info in &mut self.model.graph.inputs {
            if info.dtype == Some(DataType::Float) {
                info.dtype = Some(DataType::Double);
            }
        }
        for tensor in self.model.graph.initializers.values_mut() {
            if let Some(mut array) = Array::from_tensor(tensor).filter(|a| a.dtype == DataType::Float) {
                array.dtype = DataType::Double;
                *tensor = array.to_tensor();
            }
        }
        self.named("f64")
    }

    /// What messages call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Inputs for a batch of `n`, the same in every run.
    #[must_use]
    pub fn inputs(&self, n: usize) -> Vec<(&str, Array)> {
        let mut random = Random::new(n as u64);
        let data = |input: &Input, random: &mut Random| {
            let dims = if input.batched { [&[n], &input.dims[..]].concat() } else { input.dims.clone() };
            let mut array = random.array(&dims, &input.values);
            if array.dtype == DataType::Float {
                array.dtype = input.dtype;
            }
            array
        };
        self.inputs.iter().map(|input| (input.name.as_str(), data(input, &mut random))).collect()
    }

    /// The model. For a case of one node its outputs are all outputs of the node.
    ///
    /// # Panics
    /// If the node cannot be interpreted: a defect of the case.
    #[must_use]
    #[track_caller]
    pub fn model(&self) -> Model {
        let mut model = self.model.clone();
        if model.graph.outputs.is_empty() {
            let values = run(&model, &self.inputs(2)).unwrap_or_else(|error| panic!("{}: {error}", self.name));
            let named = model.graph.nodes[0].outputs.iter().flatten();
            let info = |value: &Value| {
                let mut info = ValueInfo::new(value.clone(), values[value].dtype, Vec::new());
                info.shape = None;
                info
            };
            model.graph.outputs = named.map(info).collect();
        }
        model
    }

    /// Outputs of the model for `inputs`.
    ///
    /// # Panics
    /// If it cannot be interpreted.
    #[must_use]
    #[track_caller]
    pub fn values(&self, inputs: &[(&str, Array)]) -> Vec<Array> {
        let model = self.model();
        let values = run(&model, inputs).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        model.graph.outputs.iter().map(|info| values[&info.value].clone()).collect()
    }

    fn input(mut self, dims: &[usize], values: Values, batched: bool) -> Self {
        let name = format!("x{}", self.inputs.len());
        let dtype = match values {
            Values::Integers { .. } => DataType::Int64,
            Values::Booleans => DataType::Bool,
            _ => DataType::Float,
        };
        let batch = batched.then(|| Dimension::Symbol("batch".into()));
        let shape = batch.into_iter().chain(dims.iter().map(|&d| Dimension::Known(d))).collect();
        self.model.graph.inputs.push(ValueInfo::new(name.as_str(), dtype, shape));
        self.node_inputs().push(Some(Value::new(name.as_str())));
        self.inputs.push(Input { name, dims: dims.to_vec(), batched, values, dtype });
        self
    }

    fn node_inputs(&mut self) -> &mut Vec<Option<Value>> {
        &mut self.model.graph.nodes[0].inputs
    }
}

/// Whether the first dimension of an input is the batch.
fn is_batched(info: &ValueInfo) -> bool {
    let first = info.shape.as_ref().and_then(|shape| shape.first());
    matches!(first, Some(Dimension::Symbol(_) | Dimension::Unknown))
}
