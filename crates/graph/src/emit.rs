//! The builder that transformations write nodes with.

use std::collections::HashMap;
use std::fmt;

use indexmap::IndexMap;

use crate::names::Names;
use crate::order::drop_unused;
use crate::{
    Attribute, Cause, DataType, Dim, Dimension, Facts, KERNELS, Lowering, Model, Node, Rule, Shaped, Tensor, Value,
    ValueInfo, operator,
};

/// Constants up to this size are written once, however often they are asked for.
const INTERNED_BYTES: usize = 1024;

/// A node of the source model whose derivative is an estimator: the operator rounds, so that its own derivative is zero almost
/// everywhere, and the rule passes the cotangent on as if it did not (a straight-through estimator).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estimator {
    /// Name of the node, or of its first output.
    pub node: String,
    /// Its operator.
    pub operator: String,
}

impl fmt::Display for Estimator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node \"{}\" ({})", self.node, self.operator)
    }
}

/// Adds inputs, nodes, constants and outputs to a copy of a model.
///
/// Emitted nodes are named `<rule>/<node>/<operator>.<n>`, so that a graph shows which rule made which node. Rules may read
/// every value of the source model by its name: it is there in the result as well. What no output depends on is left out
/// of the result, so a rule need not know whether its result will be used.
#[derive(Debug)]
pub struct Emit<'m> {
    source: &'m Shaped,
    scope: String,
    inputs: Vec<ValueInfo>,
    nodes: Vec<Node>,
    outputs: Vec<ValueInfo>,
    constants: IndexMap<Value, Tensor>,
    /// Small constants by content.
    interned: HashMap<(DataType, Vec<usize>, Vec<u8>), Value>,
    /// Outputs that rules ask forward nodes for, by the node's first output and the position.
    extra_outputs: IndexMap<(Value, usize), Value>,
    /// Nodes whose rule said that it is an estimator, last first.
    estimators: Vec<Estimator>,
    /// Products with one constant factor for each channel: the product, what was multiplied, and the factors.
    scaled: HashMap<Value, (Value, Value)>,
    /// Of the source model and of what was added.
    names: Names,
    counter: usize,
}

impl<'m> Emit<'m> {
    /// A builder over `source`, with its inputs and outputs.
    pub(crate) fn new(source: &'m Shaped) -> Self {
        let graph = &source.model().graph;
        Self {
            source,
            scope: String::new(),
            inputs: graph.inputs.clone(),
            nodes: Vec::new(),
            outputs: graph.outputs.clone(),
            constants: IndexMap::new(),
            interned: HashMap::new(),
            extra_outputs: IndexMap::new(),
            scaled: HashMap::new(),
            estimators: Vec::new(),
            names: Names::of(graph),
            counter: 0,
        }
    }

    /// What the graph will run on.
    #[must_use]
    pub fn lowering(&self) -> Lowering {
        self.source.lowering
    }

    /// Names what follows after `rule` and the node it is for.
    pub(crate) fn scope(&mut self, rule: &str, node: &str) {
        self.scope = if node.is_empty() { rule.to_owned() } else { format!("{rule}/{node}") };
    }

    /// The source model.
    pub(crate) fn source(&self) -> &'m Shaped {
        self.source
    }

    /// A new input of the model, called `wish` or like it. Where the source model fixes the batch size, it does too.
    pub(crate) fn input(&mut self, wish: &str, dtype: DataType, dims: &[Dim]) -> Value {
        let value = self.names.fresh(wish);
        let mut info = info(value.clone(), dtype, dims);
        let first = info.shape.as_mut().and_then(|shape| shape.first_mut());
        if let (Some(first), Some(Dim::Batch(1)), Some(fixed)) =
            (first, dims.first(), self.source.canonical().fixed_batch())
        {
            *first = Dimension::Known(fixed);
        }
        self.inputs.push(info);
        value
    }

    /// Forgets the outputs that the source model has.
    pub(crate) fn clear_outputs(&mut self) {
        self.outputs.clear();
    }

    /// Makes `value` a new output of the model. The result is the output's name: another than `value` where that is
    /// already an input or an output.
    pub(crate) fn output(&mut self, value: &Value, dtype: DataType, dims: &[Dim]) -> Value {
        let in_use = |infos: &[ValueInfo]| infos.iter().any(|i| i.value == *value);
        let value =
            if in_use(&self.inputs) || in_use(&self.outputs) { self.op("Identity", &[value]) } else { value.clone() };
        self.outputs.push(info(value.clone(), dtype, dims));
        value
    }

    /// What is known about a value of the source model.
    ///
    /// # Errors
    /// The value is not of the source model: a defect of the rule.
    pub fn facts(&self, value: &Value) -> Rule<&'m Facts> {
        self.source.facts(value).ok_or_else(|| Cause::Malformed(format!("value \"{value}\" has no known shape")))
    }

    /// Shape of a value of the source model.
    ///
    /// # Errors
    /// As [`Emit::facts`].
    pub fn dims(&self, value: &Value) -> Rule<&'m [Dim]> {
        Ok(&self.facts(value)?.dims)
    }

    /// Element type of a value of the source model.
    ///
    /// # Errors
    /// As [`Emit::facts`].
    pub fn dtype(&self, value: &Value) -> Rule<DataType> {
        Ok(self.facts(value)?.dtype)
    }

    /// Sizes of a value of the source model from dimension `from` on, which must not depend on the batch.
    ///
    /// # Errors
    /// One of them does.
    pub fn fixed(&self, value: &Value, from: usize) -> Rule<Vec<usize>> {
        self.dims(value)?
            .iter()
            .skip(from)
            .map(|d| match d {
                Dim::Fixed(size) => Ok(*size),
                Dim::Batch(_) => Err(Cause::Unsupported(format!(
                    "the batch size reaches a dimension of \"{value}\" other than the first"
                ))),
            })
            .collect()
    }

    /// The node of the source model that gives `value`; `None` for inputs and constants.
    #[must_use]
    pub fn producer(&self, value: &Value) -> Option<&'m Node> {
        self.source.model().graph.nodes.iter().find(|n| n.outputs.iter().flatten().any(|o| o == value))
    }

    /// Whether two values of the source model are the same one, or constants with the same numbers.
    #[must_use]
    pub fn same(&self, a: &Value, b: &Value) -> bool {
        let content = |value| self.constant(value).map(|t| (t.dtype(), t.bytes()));
        a == b || content(a).is_some_and(|content_a| content(b) == Some(content_a))
    }

    /// Content of a value of the source model, if it is the same for every input.
    #[must_use]
    pub fn constant(&self, value: &Value) -> Option<&'m Tensor> {
        self.source.constant(value)
    }

    /// One output of `operator` applied to `inputs`.
    pub fn op(&mut self, operator: &str, inputs: &[&Value]) -> Value {
        self.op_with(operator, inputs, [])
    }

    /// One output of `operator` applied to `inputs` with attributes.
    pub fn op_with<const N: usize>(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attributes: [(&str, Attribute); N],
    ) -> Value {
        let inputs = inputs.iter().map(|&v| Some(v.clone())).collect();
        let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let mut outputs = self.node(operator, inputs, attributes, 1);
        outputs.remove(0)
    }

    /// The general form: inputs may be absent, and there may be several outputs.
    pub fn node(
        &mut self,
        operator: &str,
        inputs: Vec<Option<Value>>,
        attributes: IndexMap<String, Attribute>,
        outputs: usize,
    ) -> Vec<Value> {
        let name = format!("{}/{operator}.{}", self.scope, self.counter);
        let values: Vec<Value> = (0..outputs)
            .map(|i| self.names.fresh(&if i == 0 { name.clone() } else { format!("{name}:{i}") }))
            .collect();
        self.counter += 1;
        let outputs = values.iter().cloned().map(Some).collect();
        self.nodes.push(Node { name, attributes, ..Node::new(operator, inputs, outputs) });
        values
    }

    /// The first output of `node` applied to other inputs.
    pub fn again(&mut self, node: &Node, inputs: Vec<Option<Value>>) -> Value {
        self.node(&node.operator, inputs, node.attributes.clone(), 1).remove(0)
    }

    /// Outputs of one of assay's own kernels, which only a graph for [`Lowering::CpuKernels`] may have.
    pub(crate) fn kernel(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attributes: IndexMap<String, Attribute>,
        outputs: usize,
    ) -> Vec<Value> {
        let inputs = inputs.iter().map(|&v| Some(v.clone())).collect();
        let values = self.node(operator, inputs, attributes, outputs);
        if let Some(node) = self.nodes.last_mut() {
            KERNELS.clone_into(&mut node.domain);
        }
        values
    }

    /// A constant.
    pub fn tensor(&mut self, tensor: Tensor) -> Value {
        if tensor.bytes().len() > INTERNED_BYTES {
            return self.constant_value(tensor);
        }
        let key = (tensor.dtype(), tensor.dims().to_vec(), tensor.bytes().to_vec());
        if let Some(value) = self.interned.get(&key) {
            return value.clone();
        }
        let value = self.constant_value(tensor);
        self.interned.insert(key, value.clone());
        value
    }

    fn constant_value(&mut self, tensor: Tensor) -> Value {
        let value = self.names.fresh(&format!("constant.{}", self.constants.len()));
        self.constants.insert(value.clone(), tensor);
        value
    }

    /// A vector of i64: a shape, axes, pads.
    pub fn ints(&mut self, values: &[i64]) -> Value {
        self.tensor(Tensor::ints(values))
    }

    /// A scalar of the floating-point type `like`.
    pub fn scalar(&mut self, value: f64, like: DataType) -> Value {
        self.tensor(Tensor::scalar(like, value))
    }

    /// A number that combines with values of the type and shape of `like`, a value of the source model, by broadcasting.
    ///
    /// ONNX Runtime's CPU kernels broadcast a scalar element by element where the other side's last dimension is 1; a number
    /// of the same rank they do not. (`make bench-forms`; `docs/performance.md` has the times.)
    ///
    /// # Errors
    /// As [`Emit::facts`].
    pub fn number(&mut self, value: f64, like: &Value) -> Rule<Value> {
        let facts = self.facts(like)?;
        Ok(self.ranked(value, facts.dtype, &facts.dims))
    }

    fn ranked(&mut self, value: f64, dtype: DataType, dims: &[Dim]) -> Value {
        let scalar = Tensor::scalar(dtype, value);
        let rank = if dims.last() == Some(&Dim::Fixed(1)) { dims.len() } else { 0 };
        let number = scalar.clone().reshaped(vec![1; rank]).unwrap_or(scalar);
        self.tensor(number)
    }

    /// `value`, of type `from`, as type `to`.
    pub fn cast(&mut self, value: &Value, from: DataType, to: DataType) -> Value {
        if from == to {
            return value.clone();
        }
        self.op_with("Cast", &[value], [("to", i64::from(to.number()).into())])
    }

    /// Output `index` of the node of the source model whose first output is `first`. The node gets that output if it has
    /// not got it (`MaxPool`'s indices, `LayerNormalization`'s statistics).
    pub fn forward_output(&mut self, first: &Value, index: usize) -> Value {
        let node = self.source.model().graph.nodes.iter().find(|n| n.output(0) == Some(first));
        if let Some(value) = node.and_then(|n| n.output(index)) {
            return value.clone();
        }
        let key = (first.clone(), index);
        if let Some(value) = self.extra_outputs.get(&key) {
            return value.clone();
        }
        let value = self.names.fresh(&format!("{first}:{index}"));
        self.extra_outputs.insert(key, value.clone());
        value
    }

    /// Notes that what the rule gives for `node` is an estimator and not the derivative, so that the result says so.
    pub fn estimates(&mut self, node: &Node) {
        self.estimators.push(Estimator { node: node.label().to_owned(), operator: node.operator.clone() });
    }

    /// The nodes that [`Emit::estimates`] was called for, in the model's order.
    pub(crate) fn estimators(&self) -> Vec<Estimator> {
        self.estimators.iter().rev().cloned().collect()
    }

    /// Remembers that `product` is `value` times `factor`, one constant for each channel.
    pub(crate) fn note_scaled(&mut self, product: &Value, value: &Value, factor: &Value) {
        self.scaled.insert(product.clone(), (value.clone(), factor.clone()));
    }

    /// What was multiplied channel by channel to make `value`, and the constant factors: for a rule that can take them into
    /// weights, which saves a pass over memory.
    pub(crate) fn unscaled(&self, value: &Value) -> Option<(Value, Tensor)> {
        let (unscaled, factor) = self.scaled.get(value)?;
        Some((unscaled.clone(), self.constants.get(factor)?.clone()))
    }

    /// `value` in the shape `dims`. At most one dimension may depend on the batch.
    ///
    /// # Errors
    /// More than one does.
    pub fn reshape(&mut self, value: &Value, dims: &[Dim]) -> Rule<Value> {
        if dims.iter().filter(|d| matches!(d, Dim::Batch(_))).count() > 1 {
            return Err(Cause::Unsupported("a reshape in which two dimensions depend on the batch size".into()));
        }
        let shape: Vec<i64> = dims
            .iter()
            .map(|d| match d {
                Dim::Fixed(size) => i64::try_from(*size).unwrap_or(i64::MAX),
                Dim::Batch(_) => -1,
            })
            .collect();
        let shape = self.ints(&shape);
        // Without allowzero a zero would mean "copy": an empty tensor is only reshaped to an empty tensor.
        let allow_zero = i64::from(dims.contains(&Dim::Fixed(0)));
        Ok(self.op_with("Reshape", &[value, &shape], [("allowzero", allow_zero.into())]))
    }

    /// Undoes broadcasting: sums `value`, of shape `from`, over the dimensions that were repeated to get there from `to`.
    ///
    /// # Errors
    /// `to` does not broadcast to `from`.
    pub fn sum_to(&mut self, value: &Value, from: &[Dim], to: &[Dim]) -> Rule<Value> {
        if from == to {
            return Ok(value.clone());
        }
        let lead = from
            .len()
            .checked_sub(to.len())
            .ok_or_else(|| Cause::Malformed(format!("shape {to:?} does not broadcast to {from:?}")))?;
        let mut axes: Vec<i64> = (0..i64::try_from(lead).unwrap_or(i64::MAX)).collect();
        for (axis, (f, t)) in
            from.iter().zip(std::iter::repeat_n(&Dim::Fixed(1), lead).chain(to)).enumerate().skip(lead)
        {
            if f != t {
                if *t != Dim::Fixed(1) {
                    return Err(Cause::Malformed(format!("shape {to:?} does not broadcast to {from:?}")));
                }
                axes.push(i64::try_from(axis).unwrap_or(i64::MAX));
            }
        }
        let axes = self.ints(&axes);
        let summed = self.op_with("ReduceSum", &[value, &axes], [("keepdims", 1.into())]);
        if lead == 0 { Ok(summed) } else { self.reshape(&summed, to) }
    }

    /// Repeats `value`, of shape `from`, to the shape of `like`, a value of the source model of the same rank and type.
    ///
    /// # Errors
    /// As [`Emit::facts`].
    pub fn expand(&mut self, value: &Value, from: &[Dim], like: &Value) -> Rule<Value> {
        self.expand_scaled(value, 1.0, from, like)
    }

    /// [`Emit::expand`] of `factor * value`.
    ///
    /// # Errors
    /// As [`Emit::facts`].
    pub fn expand_scaled(&mut self, value: &Value, factor: f64, from: &[Dim], like: &Value) -> Rule<Value> {
        let Facts { dtype, dims: to, .. } = self.facts(like)?;
        let has_kernel = self.lowering().is_cpu() && matches!(dtype, DataType::Float | DataType::Double);
        if let Some(copies) = trailing_copies(from, to).filter(|&n| has_kernel && n <= OUTER_PRODUCT_COPIES) {
            let column = self.ints(&[-1, 1]);
            let column = self.op("Reshape", &[value, &column]);
            let row = self.tensor(Tensor::rounded(*dtype, &[1, copies], &vec![factor; copies]));
            let product = self.op("MatMul", &[&column, &row]);
            return self.reshape(&product, to);
        }
        let value = &if factor.to_bits() == 1f64.to_bits() {
            value.clone()
        } else {
            let factor = self.ranked(factor, *dtype, from);
            self.op("Mul", &[value, &factor])
        };
        if from == to {
            return Ok(value.clone());
        }
        let fixed: Option<Vec<i64>> = from
            .iter()
            .zip(to)
            .map(|(from, to)| match to {
                Dim::Fixed(size) => i64::try_from(*size).ok(),
                // `Expand` broadcasts both ways: the dimension keeps its size.
                Dim::Batch(_) => (from == to).then_some(1),
            })
            .collect();
        let shape = match fixed {
            Some(shape) => self.ints(&shape),
            None => self.op("Shape", &[like]),
        };
        Ok(self.op("Expand", &[value, &shape]))
    }

    /// The source model with everything that was added, without what no output depends on.
    pub(crate) fn finish(self) -> Model {
        let mut model = self.source.model().clone();
        let graph = &mut model.graph;
        if self.lowering() == Lowering::CpuKernels {
            for node in graph.nodes.iter_mut().filter(|node| node.domain.is_empty()) {
                if let Some(own) = operator(&node.operator).and_then(|operator| operator.own_kernel(node, &self)) {
                    *node = own;
                }
            }
        }
        for ((first, index), value) in self.extra_outputs {
            if let Some(node) = graph.nodes.iter_mut().find(|n| n.output(0) == Some(&first)) {
                if node.outputs.len() <= index {
                    node.outputs.resize(index + 1, None);
                }
                node.outputs[index] = Some(value);
            }
        }
        graph.inputs = self.inputs;
        graph.nodes.extend(self.nodes);
        graph.initializers.extend(self.constants);
        graph.outputs = self.outputs;
        drop_unused(graph);
        if graph.nodes.iter().any(|node| node.domain == KERNELS) {
            model.opsets.insert(KERNELS.to_owned(), 1);
        }
        model
    }
}

/// Copies of each element up to which an outer product with a row of ones is faster than `Expand` on ONNX Runtime's CPU
/// kernels: `Expand` costs something for each element that it repeats, the product does not, but it is slower at writing a
/// result that is larger than a cache. (`make bench-forms`; `docs/performance.md` has the times.)
const OUTER_PRODUCT_COPIES: usize = 144;

/// How often each element is repeated where only the last dimensions of `from` are, and to a fixed size.
pub(crate) fn trailing_copies(from: &[Dim], to: &[Dim]) -> Option<usize> {
    let lead = from.iter().zip(to).take_while(|(from, to)| from == to).count();
    let batches = to.iter().filter(|d| matches!(d, Dim::Batch(_))).count();
    let copies = from[lead..].iter().zip(to.get(lead..)?).map(|pair| match pair {
        (Dim::Fixed(1), Dim::Fixed(size)) => Some(*size),
        _ => None,
    });
    let copies = copies.product::<Option<usize>>()?;
    (lead > 0 && from.len() == to.len() && batches <= 1 && copies > 1).then_some(copies)
}

/// What is said about a new input or output: the batch size is left open.
fn info(value: Value, dtype: DataType, dims: &[Dim]) -> ValueInfo {
    let shape = dims.iter().map(|d| match d {
        Dim::Fixed(size) => Dimension::Known(*size),
        Dim::Batch(_) => Dimension::Unknown,
    });
    ValueInfo::new(value, dtype, shape.collect())
}
