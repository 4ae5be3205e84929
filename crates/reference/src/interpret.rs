//! The interpreter: node after node, each by its definition.

use std::collections::HashMap;

use assay_graph::{Cause, DataType, Dimension, Model, Node, Value, ValueInfo};
use ndarray::ArrayD;

use crate::array::{Array, Data};
use crate::ops;

/// A graph that could not be interpreted, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterpretError {
    /// A graph input was not given, or does not fit what the graph says about it.
    #[error("input \"{input}\": {reason}")]
    Input {
        /// Name of the input.
        input: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A node could not be evaluated.
    #[error("node \"{node}\" ({operator}): {reason}")]
    Node {
        /// Name of the node, or of its first output.
        node: String,
        /// Its operator.
        operator: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An output of the graph that no node produces.
    #[error("output \"{0}\" is not produced by any node")]
    Output(String),
}

/// Why a node could not be evaluated.
pub(crate) type Outputs = Result<Vec<Array>, String>;

/// Values of all inputs, initializers and nodes of the graph.
///
/// All opsets from 7 on are understood; where the meaning of an operator changed, the model's opset decides.
///
/// # Errors
/// An input is missing or does not fit; an operator is unknown; a node contradicts the specification, which includes
/// operands whose element types differ where they must not.
pub fn run(model: &Model, inputs: &[(&str, Array)]) -> Result<HashMap<Value, Array>, InterpretError> {
    interpret(model, inputs, None)
}

/// As [`run`], but quantization does not round: around `at`, the values that [`run`] gave for other inputs, a quantized number
/// moves as the number it was made from does, up to the ends of its range.
///
/// The derivative of this, at the inputs of `at`, *is* the clipped straight-through estimator: what the model computes
/// there, with every rounding as an offset that stays as it is.
///
/// # Errors
/// As [`run`].
pub fn run_unrounded(
    model: &Model,
    inputs: &[(&str, Array)],
    at: &HashMap<Value, Array>,
) -> Result<HashMap<Value, Array>, InterpretError> {
    interpret(model, inputs, Some(at))
}

fn interpret(
    model: &Model,
    inputs: &[(&str, Array)],
    at: Option<&HashMap<Value, Array>>,
) -> Result<HashMap<Value, Array>, InterpretError> {
    let graph = &model.graph;
    let opset = model.opsets.get("").copied().unwrap_or(1);
    let mut values = HashMap::new();
    for (name, tensor) in &graph.initializers {
        let array = Array::from_tensor(tensor).ok_or_else(|| InterpretError::Input {
            input: name.to_string(),
            reason: format!("an initializer of type {:?} cannot be read", tensor.dtype()),
        })?;
        values.insert(name.clone(), array);
    }
    for info in &graph.inputs {
        let given = inputs.iter().find(|(name, _)| *name == info.value.as_str());
        let error = |reason| InterpretError::Input { input: info.value.to_string(), reason };
        let (_, array) = given.ok_or_else(|| error("not given".into()))?;
        fits(info, array).map_err(error)?;
        values.insert(info.value.clone(), array.clone());
    }
    for (name, _) in inputs {
        if !graph.inputs.iter().any(|info| info.value.as_str() == *name) {
            return Err(InterpretError::Input {
                input: (*name).to_owned(),
                reason: "the graph has no such input".into(),
            });
        }
    }
    for node in &graph.nodes {
        let outputs = evaluate(node, opset, &values, at).map_err(|reason| InterpretError::Node {
            node: node.label().to_owned(),
            operator: node.operator.clone(),
            reason,
        })?;
        for (name, array) in node.outputs.iter().zip(outputs) {
            if let Some(name) = name {
                values.insert(name.clone(), array);
            }
        }
    }
    match graph.outputs.iter().find(|info| !values.contains_key(&info.value)) {
        Some(info) => Err(InterpretError::Output(info.value.to_string())),
        None => Ok(values),
    }
}

/// Whether `array` is what the graph says about an input.
fn fits(info: &ValueInfo, array: &Array) -> Result<(), String> {
    if info.dtype.is_some_and(|dtype| dtype != array.dtype) {
        return Err(format!("expected type {:?}, got {:?}", info.dtype, array.dtype));
    }
    let Some(shape) = &info.shape else { return Ok(()) };
    let same = shape.len() == array.dims().len()
        && shape.iter().zip(array.dims()).all(|(d, &size)| !matches!(d, Dimension::Known(known) if *known != size));
    if same { Ok(()) } else { Err(format!("expected shape {shape:?}, got {:?}", array.dims())) }
}

/// Outputs of one node.
fn evaluate(node: &Node, opset: i64, values: &HashMap<Value, Array>, at: Option<&HashMap<Value, Array>>) -> Outputs {
    let call = Call { node, inputs: inputs_of(node, values)?, opset, at };
    let operator = ops::find(&node.domain, &node.operator).ok_or("this operator is not interpreted")?;
    let outputs = operator(&call)?;
    let wanted = node.outputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    if wanted > outputs.len() {
        return Err(format!("{wanted} outputs are wanted, but there are {}", outputs.len()));
    }
    Ok(outputs)
}

/// What a node reads.
pub(crate) fn inputs_of<'a>(node: &Node, values: &'a HashMap<Value, Array>) -> Result<Vec<Option<&'a Array>>, String> {
    let known = |name: &Value| values.get(name).map(Some).ok_or_else(|| format!("input \"{name}\" is not known yet"));
    node.inputs.iter().map(|input| input.as_ref().map_or(Ok(None), known)).collect()
}

/// One node with its inputs at hand.
pub(crate) struct Call<'a> {
    pub(crate) node: &'a Node,
    pub(crate) inputs: Vec<Option<&'a Array>>,
    pub(crate) opset: i64,
    /// The values around which quantization does not round, if it does not.
    pub(crate) at: Option<&'a HashMap<Value, Array>>,
}

impl<'a> Call<'a> {
    /// Input `i`, if present.
    pub(crate) fn optional(&self, i: usize) -> Option<&'a Array> {
        self.inputs.get(i).copied().flatten()
    }

    /// Input `i`.
    pub(crate) fn input(&self, i: usize) -> Result<&'a Array, String> {
        self.optional(i).ok_or_else(|| format!("input {i} is missing"))
    }

    /// All inputs, none of them absent.
    pub(crate) fn all(&self) -> Result<Vec<&'a Array>, String> {
        (0..self.inputs.len()).map(|i| self.input(i)).collect()
    }

    /// Input `i` as floating-point numbers.
    pub(crate) fn floats(&self, i: usize) -> Result<&'a ArrayD<f64>, String> {
        match &self.input(i)?.data {
            Data::Float(a) => Ok(a),
            _ => Err(format!("input {i} must be floating-point, but is {:?}", self.input(i)?.dtype)),
        }
    }

    /// Input `i` as numbers, whatever their type.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn numbers(&self, i: usize) -> Result<ArrayD<f64>, String> {
        match &self.input(i)?.data {
            Data::Float(a) => Ok(a.clone()),
            Data::Int(a) => Ok(a.mapv(|v| v as f64)),
            Data::Bool(_) => Err(format!("input {i} must hold numbers")),
        }
    }

    /// Input `i` as floating-point numbers, if present.
    pub(crate) fn optional_floats(&self, i: usize) -> Result<Option<&'a ArrayD<f64>>, String> {
        self.optional(i).map(|_| self.floats(i)).transpose()
    }

    /// Input `i` as an array of integers.
    pub(crate) fn int_array(&self, i: usize) -> Result<&'a ArrayD<i64>, String> {
        match &self.input(i)?.data {
            Data::Int(a) => Ok(a),
            _ => Err(format!("input {i} must be an integer, but is {:?}", self.input(i)?.dtype)),
        }
    }

    /// Input `i` as a list of integers: a shape, axes, pads.
    pub(crate) fn ints(&self, i: usize) -> Result<Vec<i64>, String> {
        Ok(self.int_array(i)?.iter().copied().collect())
    }

    /// Attribute `name` or, in newer opsets, input `i`: lists of integers that became inputs.
    pub(crate) fn ints_at(&self, name: &str, i: usize) -> Result<Option<Vec<i64>>, String> {
        match self.node.ints(name).map_err(text)? {
            Some(list) => Ok(Some(list.to_vec())),
            None => self.optional(i).map(|_| self.ints(i)).transpose(),
        }
    }

    /// Input `i` as booleans.
    pub(crate) fn bools(&self, i: usize) -> Result<&'a ArrayD<bool>, String> {
        match &self.input(i)?.data {
            Data::Bool(a) => Ok(a),
            _ => Err(format!("input {i} must be boolean, but is {:?}", self.input(i)?.dtype)),
        }
    }

    /// The only element of input `i` as a number.
    pub(crate) fn number(&self, i: usize) -> Result<f64, String> {
        #[allow(clippy::cast_precision_loss)]
        let numbers: Vec<f64> = match &self.input(i)?.data {
            Data::Float(a) => a.iter().copied().collect(),
            Data::Int(a) => a.iter().map(|&v| v as f64).collect(),
            Data::Bool(a) => a.iter().map(|&v| f64::from(u8::from(v))).collect(),
        };
        match numbers.as_slice() {
            [number] => Ok(*number),
            _ => Err(format!("input {i} must be one number")),
        }
    }

    /// Integer attribute.
    pub(crate) fn int(&self, name: &str, default: i64) -> Result<i64, String> {
        self.node.int(name, default).map_err(text)
    }

    /// Whether an integer attribute is not zero.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, String> {
        Ok(self.int(name, i64::from(default))? != 0)
    }

    /// Float attribute, exactly the f32 that the file holds.
    pub(crate) fn float(&self, name: &str, default: f32) -> Result<f64, String> {
        Ok(f64::from(self.node.float(name, default).map_err(text)?))
    }

    /// String attribute.
    pub(crate) fn text(&self, name: &str, default: &'a str) -> Result<&'a str, String> {
        self.node.text(name, default).map_err(text)
    }

    /// Integers of an attribute, or `default` repeated `count` times.
    pub(crate) fn sizes(&self, name: &str, count: usize, default: i64) -> Result<Vec<i64>, String> {
        match self.node.ints(name).map_err(text)? {
            None => Ok(vec![default; count]),
            Some(list) if list.len() == count => Ok(list.to_vec()),
            Some(list) => Err(format!("attribute \"{name}\" must have {count} numbers, but has {}", list.len())),
        }
    }

    /// Axis `axis` of an array with `rank` dimensions, counted from the end where negative.
    pub(crate) fn axis(axis: i64, rank: usize) -> Result<usize, String> {
        let from_start = if axis < 0 { axis + i64::try_from(rank).unwrap_or(i64::MAX) } else { axis };
        usize::try_from(from_start)
            .ok()
            .filter(|&a| a < rank)
            .ok_or_else(|| format!("axis {axis} of an array with {rank} dimensions"))
    }

    /// Inputs `which`, where present, have one element type.
    pub(crate) fn one_type(&self, which: &[usize]) -> Result<DataType, String> {
        let mut types = which.iter().filter_map(|&i| self.optional(i)).map(|a| a.dtype);
        let first = types.next().ok_or("no input")?;
        match types.find(|&dtype| dtype != first) {
            Some(other) => Err(format!("its operands have the types {first:?} and {other:?}, but must have one type")),
            None => Ok(first),
        }
    }
}

/// One array of floating-point numbers as the only output.
pub(crate) fn float_output(dtype: DataType, array: ArrayD<f64>) -> Outputs {
    Ok(vec![Array::of(dtype, Data::Float(array))])
}

#[allow(clippy::needless_pass_by_value)]
fn text(cause: Cause) -> String {
    cause.to_string()
}
