//! Small quantized models to test with.

use assay_graph::{Attribute, Canonical, DataType, Dimension, Graph, Model, Node, Tensor, Value, ValueInfo};
use ndarray::{ArrayD, IxDyn};

use crate::array::{Array, Data};
use crate::case::Case;
use crate::random::Values;

/// A model from `x [batch, dims…]` to `y`, written as nodes and constants. Scales and zero points are at hand: `s`, `z` and `t`, `u` for
/// bytes; `ws`, `wz` for signed weights.
///
/// # Panics
/// Where the sketch contradicts itself.
#[derive(Clone, Debug)]
pub struct Sketch {
    graph: Graph,
}

impl Sketch {
    /// Samples of shape `dims`.
    #[must_use]
    pub fn new(dims: &[usize]) -> Self {
        let shape = std::iter::once(Dimension::Symbol("batch".into())).chain(dims.iter().map(|&d| Dimension::Known(d)));
        let mut graph = Graph::default();
        graph.inputs.push(ValueInfo::new("x", DataType::Float, shape.collect()));
        let mut y = ValueInfo::new("y", DataType::Float, Vec::new());
        y.shape = None;
        graph.outputs.push(y);
        let sketch = Self { graph };
        sketch.float("s", 0.25).byte("z", 117).float("t", 0.47).byte("u", 64).float("ws", 0.125).signed("wz", &[], &[0])
    }

    /// An f32 scalar.
    #[must_use]
    pub fn float(self, name: &str, value: f32) -> Self {
        self.floats(name, &[], &[value])
    }

    /// An f32 constant.
    #[must_use]
    pub fn floats(mut self, name: &str, dims: &[usize], values: &[f32]) -> Self {
        self.graph.initializers.insert(name.into(), Tensor::floats(dims, values));
        self
    }

    /// A scalar of type u8.
    #[must_use]
    pub fn byte(self, name: &str, value: u8) -> Self {
        self.integers(name, DataType::Uint8, &[], &[value.into()])
    }

    /// A constant of type i8.
    #[must_use]
    pub fn signed(self, name: &str, dims: &[usize], values: &[i64]) -> Self {
        self.integers(name, DataType::Int8, dims, values)
    }

    /// A constant of integers.
    #[must_use]
    pub fn integers(mut self, name: &str, dtype: DataType, dims: &[usize], values: &[i64]) -> Self {
        let array = ArrayD::from_shape_vec(IxDyn(dims), values.to_vec()).unwrap_or_else(|e| panic!("{name}: {e}"));
        self.graph.initializers.insert(name.into(), Array::of(dtype, Data::Int(array)).to_tensor());
        self
    }

    /// Any constant.
    #[must_use]
    pub fn tensor(mut self, name: &str, tensor: Tensor) -> Self {
        self.graph.initializers.insert(name.into(), tensor);
        self
    }

    /// A constant of small integers, both signs.
    #[must_use]
    pub fn weights(self, name: &str, dims: &[usize]) -> Self {
        let count: usize = dims.iter().product();
        let values: Vec<i64> = (0..count).map(|i| (i as i64 * 37 + 11) % 19 - 9).collect();
        self.signed(name, dims, &values)
    }

    /// `inputs -> outputs`, `_` for an absent input. Operators of ONNX Runtime's own set have a dot before their name.
    #[must_use]
    pub fn node(mut self, operator: &str, wires: &str, attributes: &[(&str, Attribute)]) -> Self {
        let (inputs, outputs) = wires.split_once(" -> ").unwrap_or_else(|| panic!("{wires}: no arrow"));
        let list = |text: &str| text.split(' ').map(|v| (v != "_").then(|| Value::from(v))).collect();
        let mut node = Node::new(operator.trim_start_matches('.'), list(inputs), list(outputs));
        if operator.starts_with('.') {
            node.domain = "com.microsoft".into();
        }
        node.name = format!("the {}", node.operator);
        let same = self.graph.nodes.iter().filter(|n| n.operator == node.operator).count();
        if same > 0 {
            node.name += &format!(" {}", same + 1);
        }
        node.attributes.extend(attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self.graph.nodes.push(node);
        self
    }

    /// The model, with the canonical operator set.
    #[must_use]
    pub fn model(&self) -> Model {
        let mut model = Model::new(Canonical::OPSET, self.graph.clone());
        model.opsets.insert("com.microsoft".into(), 1);
        model
    }

    /// Numbers that are not halfway between two steps, and of which some saturate (the range of `s`, `z` is -29.25 to 34.5).
    #[must_use]
    pub fn case(&self, name: &str) -> Case {
        Case::graph(name, self.model()).feed("x", &self.dims(), Values::uniform(-40.0, 45.0))
    }

    /// Shape of one sample.
    #[must_use]
    pub fn dims(&self) -> Vec<usize> {
        let size = |d: &Dimension| if let Dimension::Known(size) = d { *size } else { panic!("{d:?}") };
        self.graph.inputs[0].shape.iter().flatten().skip(1).map(size).collect()
    }

    /// `x` to `q`, with `s` and `z`.
    #[must_use]
    pub fn quantize(self) -> Self {
        self.node("QuantizeLinear", "x s z -> q", &[])
    }

    /// `q`, of scale `t` and zero point `u`, to `y`.
    #[must_use]
    pub fn end(self, q: &str) -> Self {
        self.node("DequantizeLinear", &format!("{q} t u -> y"), &[])
    }
}
