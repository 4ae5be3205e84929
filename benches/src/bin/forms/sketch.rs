//! Small graphs, written node by node.

use assay_graph::{Attribute, Canonical, DataType, Dimension, Graph, Model, Node, Tensor, Value, ValueInfo};

/// The model that reads `inputs`, the name of each and the shape of one sample, and gives the value that `write` returns.
pub(crate) fn model(inputs: &[(&str, &[usize])], write: impl FnOnce(&mut Sketch) -> String) -> Model {
    let input = |&(name, sample): &(&str, &[usize])| {
        let sample = sample.iter().map(|&size| Dimension::Known(size));
        let shape = std::iter::once(Dimension::Symbol("n".into())).chain(sample).collect();
        ValueInfo::new(name, DataType::Float, shape)
    };
    let mut sketch = Sketch { graph: Graph::default() };
    sketch.graph.inputs = inputs.iter().map(input).collect();
    let mut output = ValueInfo::untyped(Value::new(write(&mut sketch)));
    output.dtype = Some(DataType::Float);
    sketch.graph.outputs = vec![output];
    Model::new(Canonical::OPSET, sketch.graph)
}

/// A graph that is being written. Values are called by their names.
pub(crate) struct Sketch {
    graph: Graph,
}

impl Sketch {
    /// The output of `operator` applied to `inputs`.
    pub(crate) fn op<const N: usize>(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: [(&str, Attribute); N],
    ) -> String {
        self.ops(operator, inputs, attributes, 1).remove(0)
    }

    /// The first outputs of `operator` applied to `inputs`.
    pub(crate) fn ops<const N: usize>(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: [(&str, Attribute); N],
        outputs: usize,
    ) -> Vec<String> {
        let label = format!("{operator}.{}", self.graph.nodes.len());
        let names: Vec<String> = (0..outputs).map(|i| format!("{label}:{i}")).collect();
        let inputs = inputs.iter().map(|&name| Some(Value::new(name))).collect();
        let mut node = Node::new(operator, inputs, names.iter().map(|name| Some(Value::new(name.as_str()))).collect());
        node.name = label;
        node.attributes.extend(attributes.map(|(name, value)| (name.to_owned(), value)));
        self.graph.nodes.push(node);
        names
    }

    /// A constant.
    pub(crate) fn constant(&mut self, tensor: Tensor) -> String {
        let name = format!("constant.{}", self.graph.initializers.len());
        self.graph.initializers.insert(Value::new(name.as_str()), tensor);
        name
    }

    /// A constant vector of i64: a shape, axes, pads.
    pub(crate) fn ints(&mut self, values: &[i64]) -> String {
        self.constant(Tensor::ints(values))
    }

    /// A constant number of rank `rank`.
    pub(crate) fn number(&mut self, value: f32, rank: usize) -> String {
        self.constant(Tensor::floats(&vec![1; rank], &[value]))
    }
}

/// A size as an attribute or a shape has it.
pub(crate) fn int(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
