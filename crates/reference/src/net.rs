//! Small classifiers to test with, built node after node.

use assay_graph::{Attribute, Canonical, DataType, Dimension, Graph, Model, Node, Shaped, Tensor, ValueInfo};

use crate::array::Array;
use crate::probe::probe;
use crate::random::{Random, Values};

/// A model from `x [batch, dims…]` to `z`; weights are random. A node is named after its first output, `the <output>`, and its
/// weights `<output>.w`, `<output>.b`.
///
/// # Panics
/// Where what is built contradicts itself.
#[derive(Clone, Debug)]
pub struct Net {
    /// What was built.
    pub graph: Graph,
    dims: Vec<usize>,
    random: Random,
}

impl Net {
    /// Samples of shape `dims`.
    #[must_use]
    pub fn new(dims: &[usize]) -> Self {
        let shape = std::iter::once(Dimension::Symbol("batch".into())).chain(dims.iter().map(|&d| Dimension::Known(d)));
        let mut graph = Graph::default();
        graph.inputs.push(ValueInfo::new("x", DataType::Float, shape.collect()));
        graph.outputs.push(ValueInfo::untyped("z".into()));
        Self { graph, dims: dims.to_vec(), random: Random::new(9) }
    }

    /// Weights between -1 and 1.
    #[must_use]
    pub fn weight(self, name: &str, dims: &[usize]) -> Self {
        self.between(name, dims, -1.0, 1.0)
    }

    /// Weights between two numbers.
    #[must_use]
    pub fn between(mut self, name: &str, dims: &[usize], low: f64, high: f64) -> Self {
        let array = self.random.array(dims, &Values::uniform(low, high));
        self.graph.initializers.insert(name.into(), array.to_tensor());
        self
    }

    /// A constant of these numbers.
    #[must_use]
    pub fn floats(mut self, name: &str, dims: &[usize], values: &[f32]) -> Self {
        self.graph.initializers.insert(name.into(), Tensor::floats(dims, values));
        self
    }

    /// A vector of i64.
    #[must_use]
    pub fn ints(mut self, name: &str, values: &[i64]) -> Self {
        self.graph.initializers.insert(name.into(), Tensor::ints(values));
        self
    }

    /// A node, as `inputs -> outputs`; `_` is an absent input.
    #[must_use]
    pub fn node(mut self, operator: &str, wires: &str, attributes: &[(&str, Attribute)]) -> Self {
        let (inputs, outputs) = wires.split_once(" -> ").unwrap_or_else(|| panic!("{wires}: no arrow"));
        let list = |text: &str| text.split(' ').map(|v| (v != "_").then(|| v.into())).collect();
        let mut node = Node::new(operator, list(inputs), list(outputs));
        node.name = format!("the {}", node.label());
        node.attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        self.graph.nodes.push(node);
        self
    }

    /// A convolution with a kernel of shape `dims` and a bias, padded so that kernels of 3 keep the size.
    #[must_use]
    pub fn conv(self, wires: &str, dims: &[usize], attributes: &[(&str, Attribute)]) -> Self {
        let pads = dims[2..].iter().map(|&k| i64::try_from(k / 2).unwrap_or(0));
        let pads: Vec<i64> = pads.clone().chain(pads).collect();
        let all = [&[("pads", Attribute::Ints(pads))], attributes].concat();
        self.layer("Conv", wires, dims, dims[0], &all)
    }

    /// A dense layer with weights `[outputs, inputs]` and a bias, as PyTorch exports one.
    #[must_use]
    pub fn dense(self, wires: &str, dims: [usize; 2]) -> Self {
        self.layer("Gemm", wires, &dims, dims[0], &[("transB", 1.into())])
    }

    /// A batch norm over `channels`.
    #[must_use]
    pub fn norm(self, wires: &str, channels: usize) -> Self {
        let (x, y) = wires.split_once(" -> ").unwrap_or_else(|| panic!("{wires}: no arrow"));
        self.between(&format!("{y}.scale"), &[channels], 0.5, 1.5)
            .between(&format!("{y}.bias"), &[channels], -0.5, 0.5)
            .between(&format!("{y}.mean"), &[channels], -0.5, 0.5)
            .between(&format!("{y}.var"), &[channels], 0.5, 1.5)
            .node("BatchNormalization", &format!("{x} {y}.scale {y}.bias {y}.mean {y}.var -> {y}"), &[])
    }

    /// Global average pool and a dense layer onto `z`.
    #[must_use]
    pub fn head(self, x: &str, channels: usize) -> Self {
        self.node("GlobalAveragePool", &format!("{x} -> pooled"), &[])
            .node("Flatten", "pooled -> flat", &[])
            .dense("flat -> z", [3, channels])
    }

    fn layer(
        self,
        operator: &str,
        wires: &str,
        dims: &[usize],
        channels: usize,
        attributes: &[(&str, Attribute)],
    ) -> Self {
        let (x, y) = wires.split_once(" -> ").unwrap_or_else(|| panic!("{wires}: no arrow"));
        self.weight(&format!("{y}.w"), dims).weight(&format!("{y}.b"), &[channels]).node(
            operator,
            &format!("{x} {y}.w {y}.b -> {y}"),
            attributes,
        )
    }

    /// A batch of inputs.
    #[must_use]
    pub fn x(&self, batch: usize) -> Array {
        Random::new(batch as u64).array(&[&[batch], &self.dims[..]].concat(), &Values::uniform(-1.0, 1.0))
    }

    /// The model with its shapes.
    #[must_use]
    #[track_caller]
    pub fn shaped(&self) -> Shaped {
        let canonical = Canonical::new(Model::new(Canonical::OPSET, self.graph.clone()));
        probe(canonical.unwrap_or_else(|error| panic!("{error}")), &[("x", self.x(2))])
    }
}
