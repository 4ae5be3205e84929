//! The model while its quantized operators are written out.

use std::collections::HashMap;

use indexmap::IndexMap;

use crate::names::Names;
use crate::ops::axis;
use crate::{
    Attribute, Canonical, Cause, DataType, Dim, Facts, Lowering, Model, Node, Rule, Shaped, Shapes, Tensor, Value,
};

/// What a tensor of integers stands for: `(q - zero_point) scale`.
#[derive(Clone, Debug)]
pub(super) struct Meaning {
    /// Scale, and the zero point where it is not 0.
    pub(super) scale: Value,
    pub(super) zero_point: Option<Value>,
    /// The numbers that the elements stand for, once somebody asked.
    numbers: Option<Value>,
}

/// A model in the making: nodes, constants and shapes, and what its integers mean.
pub(super) struct Written {
    model: Model,
    nodes: Vec<Node>,
    shapes: Shapes,
    lowering: Lowering,
    names: Names,
    meanings: HashMap<Value, Meaning>,
    /// Dequantized constants by content, scale and zero point.
    folded: HashMap<(Value, Value, Option<Value>), Value>,
}

impl Written {
    /// `source` without its nodes.
    pub(super) fn new(source: &Shaped) -> Self {
        let mut model = source.model().clone();
        let names = Names::of(&model.graph);
        model.graph.nodes = Vec::new();
        let shapes = source.shapes.clone();
        let lowering = source.lowering;
        Self { model, nodes: Vec::new(), shapes, lowering, names, meanings: HashMap::new(), folded: HashMap::new() }
    }

    /// The model with what was written.
    pub(super) fn finish(mut self) -> Shaped {
        self.model.graph.nodes = self.nodes;
        let canonical = Canonical { model: self.model, adaptations: Vec::new() };
        Shaped { canonical, shapes: self.shapes, lowering: self.lowering }
    }

    /// Takes `node` over as it is.
    pub(super) fn keep(&mut self, node: &Node) {
        self.nodes.push(node.clone());
    }

    /// Dimensions of `value`.
    pub(super) fn dims(&self, value: &Value) -> Rule<Vec<Dim>> {
        Ok(self.facts(value)?.dims.clone())
    }

    /// Element type of `value`.
    pub(super) fn dtype(&self, value: &Value) -> Rule<DataType> {
        Ok(self.facts(value)?.dtype)
    }

    fn facts(&self, value: &Value) -> Rule<&Facts> {
        self.shapes.0.get(value).ok_or_else(|| Cause::Malformed(format!("value \"{value}\" has no known shape")))
    }

    /// Content of `value`, if it is the same for every input.
    pub(super) fn constant(&self, value: &Value) -> Option<&Tensor> {
        self.shapes.0.get(value)?.constant.as_ref()
    }

    /// A new constant named after `node` and its `role`.
    pub(super) fn tensor(&mut self, node: &Node, role: &str, tensor: Tensor) -> Value {
        let value = self.names.fresh(&format!("{}/{role}", node.label()));
        self.add_constant(value.clone(), tensor);
        value
    }

    fn add_constant(&mut self, value: Value, tensor: Tensor) {
        let dims = tensor.dims().iter().map(|&d| Dim::Fixed(d)).collect();
        let facts = Facts { dtype: tensor.dtype(), dims, constant: Some(tensor.clone()) };
        self.shapes.0.insert(value.clone(), facts);
        self.model.graph.initializers.insert(value, tensor);
    }

    /// A new node for `node`, with one output of a new name, of the stated type and shape.
    pub(super) fn op(
        &mut self,
        node: &Node,
        operator: &str,
        inputs: Vec<Option<Value>>,
        attributes: IndexMap<String, Attribute>,
        (dtype, dims): (DataType, Vec<Dim>),
    ) -> Value {
        let output = self.names.fresh(&format!("{}/{operator}", node.label()));
        let name = output.to_string();
        self.nodes.push(Node { name, attributes, ..Node::new(operator, inputs, vec![Some(output.clone())]) });
        self.shapes.0.insert(output.clone(), Facts { dtype, dims, constant: None });
        output
    }

    /// `node` once more, on other inputs and with outputs of type `dtype`: its outputs and the new ones.
    pub(super) fn again(
        &mut self,
        node: &Node,
        inputs: Vec<Option<Value>>,
        dtype: DataType,
    ) -> Rule<Vec<(Value, Value)>> {
        let mut new = Node { name: format!("{}/numbers", node.label()), inputs, ..node.clone() };
        let mut pairs = Vec::new();
        for output in new.outputs.iter_mut().flatten() {
            let (old, dims) = (output.clone(), self.dims(output)?);
            *output = self.names.fresh(&format!("{old}/numbers"));
            self.shapes.0.insert(output.clone(), Facts { dtype, dims, constant: None });
            pairs.push((old, output.clone()));
        }
        self.nodes.push(new);
        Ok(pairs)
    }

    /// The first output of `node` by another operator. It keeps the node's name, by which results call it.
    pub(super) fn instead(
        &mut self,
        node: &Node,
        operator: &str,
        inputs: Vec<Option<Value>>,
        attributes: IndexMap<String, Attribute>,
    ) -> Rule<()> {
        let y = output(node)?.clone();
        let new = Node { name: node.label().to_owned(), attributes, ..Node::new(operator, inputs, vec![Some(y)]) };
        if operator == "QuantizeLinear" {
            self.quantizes(&new)?;
        }
        self.nodes.push(new);
        Ok(())
    }

    /// Notes what the output of `node`, which quantizes, means.
    pub(super) fn quantizes(&mut self, node: &Node) -> Rule<()> {
        let q = output(node)?.clone();
        let meaning = if node.operator == "QuantizeLinear" {
            Meaning { scale: node.required(1)?.clone(), zero_point: node.input(2).cloned(), numbers: None }
        } else {
            let Some(scale) = node.output(1).cloned() else { return Ok(()) };
            Meaning { scale, zero_point: node.output(2).cloned(), numbers: None }
        };
        self.meanings.insert(q, meaning);
        Ok(())
    }

    /// Notes that the elements of `q` stand for `numbers` by the scale and zero point of `like`.
    pub(super) fn means(&mut self, q: Value, numbers: Value, like: &Meaning) {
        self.meanings.insert(q, Meaning { numbers: Some(numbers), ..like.clone() });
    }

    /// What a tensor of computed integers means, if it is quantized.
    pub(super) fn meaning(&self, q: &Value) -> Option<Meaning> {
        self.meanings.get(q).cloned()
    }

    /// A meaning of integers that stand for themselves.
    pub(super) fn themselves(&mut self, node: &Node) -> Meaning {
        let scale = self.tensor(node, "1", Tensor::scalar(DataType::Float, 1.0));
        Meaning { scale, zero_point: None, numbers: None }
    }

    /// The numbers that the elements of `q` stand for, computed integers with a meaning.
    pub(super) fn numbers(&mut self, node: &Node, q: &Value) -> Rule<Value> {
        let meaning = self.meaning(q).ok_or_else(|| {
            Cause::Unsupported(format!("\"{q}\" holds integers that were not made by quantization; quantize them"))
        })?;
        if let Some(numbers) = meaning.numbers {
            return Ok(numbers);
        }
        let facts = (self.dtype(&meaning.scale)?, self.dims(q)?);
        let inputs = vec![Some(q.clone()), Some(meaning.scale.clone()), meaning.zero_point.clone()];
        let axis = self.quantizer(q).and_then(|n| n.attributes.get("axis")).cloned();
        let attributes = axis.map(|axis| ("axis".to_owned(), axis)).into_iter().collect();
        let numbers = self.op(node, "DequantizeLinear", inputs, attributes, facts);
        if let Some(meaning) = self.meanings.get_mut(q) {
            meaning.numbers = Some(numbers.clone());
        }
        Ok(numbers)
    }

    /// The node that quantizes numbers to `q`, if that is how `q` comes about.
    fn quantizer(&self, q: &Value) -> Option<&Node> {
        let node = self.nodes.iter().rev().find(|n| n.outputs.iter().flatten().any(|o| o == q))?;
        matches!(node.operator.as_str(), "QuantizeLinear" | "DynamicQuantizeLinear").then_some(node)
    }

    /// The numbers that operand `q` of `node` stands for by `scale` and `zero_point`: a constant, dequantized (with scales
    /// along `along`, if there are several), or computed integers with that meaning.
    pub(super) fn operand(
        &mut self,
        node: &Node,
        (q, scale, zero_point): (&Value, &Value, Option<&Value>),
        along: i64,
    ) -> Rule<Value> {
        if self.constant(q).is_some() {
            return self.dequantized((q, scale, zero_point), along);
        }
        match self.meaning(q) {
            Some(meaning)
                if !self.is_same(Some(&meaning.scale), Some(scale))
                    || !self.is_same(meaning.zero_point.as_ref(), zero_point) =>
            {
                Err(Cause::Unsupported(format!(
                    "\"{q}\" is read with another scale or zero point than it was quantized with; use the same"
                )))
            }
            _ => self.numbers(node, q),
        }
    }

    /// Whether two scales, or two zero points, are the same. An absent zero point is 0.
    pub(super) fn is_same(&self, a: Option<&Value>, b: Option<&Value>) -> bool {
        let content = |value: Option<&Value>| match value {
            None => Some(vec![0.0]),
            Some(value) => self.constant(value).and_then(Tensor::to_f64),
        };
        a == b || content(a).is_some_and(|content_a| content(b) == Some(content_a))
    }

    /// A constant of integers as the numbers that they stand for.
    fn dequantized(&mut self, (q, scale, zero_point): (&Value, &Value, Option<&Value>), along: i64) -> Rule<Value> {
        let key = (q.clone(), scale.clone(), zero_point.cloned());
        if let Some(value) = self.folded.get(&key) {
            return Ok(value.clone());
        }
        let tensor = self.dequantize(q, scale, zero_point, along)?;
        let value = self.names.fresh(&format!("{q}/numbers"));
        self.add_constant(value.clone(), tensor);
        self.folded.insert(key, value.clone());
        Ok(value)
    }

    fn dequantize(&self, q: &Value, scale: &Value, zero_point: Option<&Value>, along: i64) -> Rule<Tensor> {
        let of = |value: &Value| {
            self.constant(value).ok_or_else(|| {
                Cause::Unsupported(format!("\"{value}\" is computed; constants must be quantized by constants"))
            })
        };
        let (tensor, scale) = (of(q)?, of(scale)?);
        let integers = numbers_of(tensor)?;
        let scales = numbers_of(scale)?;
        let zeros = zero_point.map_or(Ok(vec![0.0]), |z| numbers_of(of(z)?))?;
        let dims = tensor.dims();
        let several = scales.len().max(zeros.len());
        if [scales.len(), zeros.len()].iter().any(|&n| n != 1 && n != several) {
            return Err(Cause::Malformed(format!("{} scales and {} zero points", scales.len(), zeros.len())));
        }
        let inner = if several == 1 {
            1
        } else {
            let along = axis(along, dims.len())?;
            if dims[along] != several {
                return Err(Cause::Unsupported(format!(
                    "{several} scales along an axis of size {}; quantize per tensor or per axis",
                    dims[along]
                )));
            }
            dims[along + 1..].iter().product()
        };
        let numbers: Vec<f64> = integers
            .iter()
            .enumerate()
            .map(|(i, q)| {
                let slice = i / inner % several;
                let at = |list: &[f64]| list[if list.len() == 1 { 0 } else { slice }];
                (q - at(&zeros)) * at(&scales)
            })
            .collect();
        Ok(Tensor::rounded(scale.dtype(), dims, &numbers))
    }

    /// `DequantizeLinear` of constants becomes a constant; whether it did.
    pub(super) fn fold(&mut self, node: &Node) -> bool {
        let [Some(q), Some(scale), zero_point, Some(y)] = [node.input(0), node.input(1), node.input(2), node.output(0)]
        else {
            return false;
        };
        let is_output = self.model.graph.outputs.iter().any(|o| o.value == *y);
        if node.operator != "DequantizeLinear" || is_output || node.int("block_size", 0) != Ok(0) {
            return false;
        }
        let Ok(axis) = node.int("axis", 1) else { return false };
        let Ok(tensor) = self.dequantize(q, scale, zero_point, axis) else { return false };
        self.add_constant(y.clone(), tensor);
        true
    }

    /// `DequantizeLinear` behind something that moved quantized integers gives the numbers that stand beside them; whether
    /// `node` is written out. Right behind what quantizes it stays.
    pub(super) fn ends(&mut self, node: &Node) -> Rule<bool> {
        let q = node.required(0)?;
        if self.meaning(q).is_none() || self.quantizer(q).is_some() {
            return Ok(false);
        }
        let numbers = self.operand(node, (q, node.required(1)?, node.input(2)), node.int("axis", 1)?)?;
        self.instead(node, "Identity", vec![Some(numbers)], IndexMap::new())?;
        Ok(true)
    }
}

/// The first output of a node.
pub(super) fn output(node: &Node) -> Rule<&Value> {
    node.output(0).ok_or_else(|| Cause::Malformed("output 0 is required".into()))
}

/// The numbers of a constant.
pub(super) fn numbers_of(tensor: &Tensor) -> Rule<Vec<f64>> {
    tensor.to_f64().ok_or_else(|| Cause::Unsupported(format!("a quantized constant of type {:?}", tensor.dtype())))
}
