//! Layers, one after the other.

use assay_graph::{Attribute, Canonical, DataType, Dimension, Graph, Model, Node, Tensor, Value, ValueInfo};

use super::initial::Initial;
use super::{ArchitectureError, Task};

/// Largest size of anything that a net is made for.
const MOST: usize = 1 << 14;
/// Most weights of a net: 1 GiB.
const WEIGHTS: usize = 1 << 28;

/// A value of the net, and its shape without the batch.
#[derive(Clone, Debug)]
pub(super) struct Feature {
    value: Value,
    shape: Shape,
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    channels: usize,
    /// Rows and columns; `None` of a flat vector.
    sides: Option<[usize; 2]>,
}

/// A convolution. Its padding is half its kernel, so that a stride of 1 keeps the size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conv {
    pub(super) channels: usize,
    /// Side of the kernels; odd.
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) groups: usize,
    pub(super) bias: Bias,
}

/// Whether a convolution adds a number to each channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bias {
    Zero,
    None,
}

impl Conv {
    /// To so many channels, without a bias.
    pub(super) fn new(channels: usize, kernel: usize, stride: usize) -> Self {
        Self { channels, kernel, stride, groups: 1, bias: Bias::None }
    }
}

/// A net in the making. Layers are named as PyTorch's modules; the node of a layer, and what it gives, have the layer's name.
#[derive(Debug)]
pub(super) struct Builder {
    net: String,
    classes: usize,
    seed: u64,
    graph: Graph,
    /// By name, in the order of the layers. They are drawn once it is known how many there are.
    weights: Vec<(String, Initial)>,
}

impl Builder {
    /// A net without layers, and its input.
    pub(super) fn new(net: &str, task: &Task, seed: u64) -> Result<(Self, Feature), ArchitectureError> {
        let Task { channels, height, width, classes, .. } = *task;
        if [channels, height, width, classes].iter().any(|size| !(1..=MOST).contains(size)) || classes < 2 {
            let name = net.to_owned();
            return Err(ArchitectureError::Task { name, channels, height, width, classes, most: MOST });
        }
        let mut graph = Graph::default();
        graph.name = net.to_owned();
        let mut builder = Self { net: net.to_owned(), classes, seed, graph, weights: Vec::new() };
        let x = Feature { value: Value::from("x"), shape: Shape { channels, sides: Some([height, width]) } };
        builder.graph.inputs.push(x.info());
        Ok((builder, x))
    }

    /// The model; the last layer gives the logits.
    pub(super) fn finish(mut self) -> Result<Model, ArchitectureError> {
        let sizes = self.weights.iter().map(|(_, weight)| weight.elements());
        if sizes.fold(0_usize, usize::saturating_add) > WEIGHTS {
            return Err(ArchitectureError::TooLarge { name: self.net, limit: WEIGHTS });
        }
        for (name, weight) in self.weights {
            self.graph.initializers.insert(Value::from(name.as_str()), weight.draw(&name, self.seed));
        }
        let value = Value::from("logits");
        if let Some(last) = self.graph.nodes.last_mut() {
            last.outputs = vec![Some(value.clone())];
        }
        self.graph.value_info.pop();
        let logits = Feature { value, shape: Shape { channels: self.classes, sides: None } };
        self.graph.outputs.push(logits.info());
        Ok(Model::new(Canonical::OPSET, self.graph))
    }

    pub(super) fn conv(&mut self, name: &str, x: &Feature, conv: Conv) -> Result<Feature, ArchitectureError> {
        let Conv { channels, kernel, stride, groups, bias } = conv;
        let pad = kernel / 2;
        let sides = self.windows(name, x, kernel, pad, stride)?;
        let dims = [channels, x.channels() / groups, kernel, kernel];
        let mut inputs = vec![self.weight(name, "weight", Initial::Kernels(dims))];
        if bias == Bias::Zero {
            inputs.push(self.weight(name, "bias", Initial::Constant { elements: channels, value: 0.0 }));
        }
        let sizes = |size: usize, count: usize| Attribute::Ints(vec![size as i64; count]);
        let attributes = [
            ("kernel_shape", sizes(kernel, 2)),
            ("pads", sizes(pad, 4)),
            ("strides", sizes(stride, 2)),
            ("group", Attribute::Int(groups as i64)),
        ];
        Ok(self.layer(name, "Conv", x, inputs, &attributes, Shape { channels, sides }))
    }

    /// Each channel with a mean of 0 and a variance of 1, times a weight of 1, plus a bias of 0.
    pub(super) fn batch_norm(&mut self, name: &str, x: &Feature) -> Feature {
        let elements = x.channels();
        let inputs = [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)]
            .map(|(role, value)| self.weight(name, role, Initial::Constant { elements, value }));
        let epsilon = [("epsilon", Attribute::Float(1e-5))];
        self.layer(name, "BatchNormalization", x, inputs.into(), &epsilon, x.shape)
    }

    pub(super) fn relu(&mut self, name: &str, x: &Feature) -> Feature {
        self.layer(name, "Relu", x, Vec::new(), &[], x.shape)
    }

    /// Between 0 and 6.
    pub(super) fn relu6(&mut self, name: &str, x: &Feature) -> Feature {
        let bounds = [("zero", 0.0), ("six", 6.0)].map(|(name, value)| {
            let constant = Value::from(name);
            self.graph.initializers.entry(constant.clone()).or_insert_with(|| Tensor::floats(&[], &[value]));
            constant
        });
        self.layer(name, "Clip", x, bounds.into(), &[], x.shape)
    }

    /// The sum of two values of the same shape.
    pub(super) fn add(&mut self, name: &str, x: &Feature, y: &Feature) -> Feature {
        self.layer(name, "Add", x, vec![y.value.clone()], &[], x.shape)
    }

    /// The largest of each 2 x 2 pixels.
    pub(super) fn max_pool(&mut self, name: &str, x: &Feature, stride: usize) -> Result<Feature, ArchitectureError> {
        let sides = self.windows(name, x, 2, 0, stride)?;
        let attributes =
            [("kernel_shape", Attribute::Ints(vec![2, 2])), ("strides", Attribute::Ints(vec![stride as i64; 2]))];
        Ok(self.layer(name, "MaxPool", x, Vec::new(), &attributes, Shape { sides, ..x.shape }))
    }

    /// The mean of each channel, as a flat vector.
    pub(super) fn pooled(&mut self, x: &Feature) -> Feature {
        let one = Shape { sides: Some([1, 1]), ..x.shape };
        let pooled = self.layer("avgpool", "GlobalAveragePool", x, Vec::new(), &[], one);
        let axis = [("axis", Attribute::Int(1))];
        self.layer("flatten", "Flatten", &pooled, Vec::new(), &axis, Shape { sides: None, ..x.shape })
    }

    /// A linear layer of a flat vector.
    pub(super) fn linear(&mut self, name: &str, x: &Feature, outputs: usize) -> Feature {
        let inputs = x.channels();
        let weight = self.weight(name, "weight", Initial::Uniform { dims: vec![outputs, inputs], inputs });
        let bias = self.weight(name, "bias", Initial::Uniform { dims: vec![outputs], inputs });
        let transposed = [("transB", Attribute::Int(1))];
        self.layer(name, "Gemm", x, vec![weight, bias], &transposed, Shape { channels: outputs, sides: None })
    }

    /// The linear layer that gives the logits.
    pub(super) fn logits(&mut self, name: &str, x: &Feature) {
        self.linear(name, x, self.classes);
    }

    /// Rows and columns of what windows over `x` give.
    fn windows(
        &self,
        name: &str,
        x: &Feature,
        kernel: usize,
        pad: usize,
        stride: usize,
    ) -> Result<Option<[usize; 2]>, ArchitectureError> {
        let windows = |size: usize| Some((size + 2 * pad).checked_sub(kernel)? / stride + 1);
        let [height, width] = x.shape.sides.unwrap_or_default();
        match (windows(height), windows(width)) {
            (Some(rows), Some(columns)) => Ok(Some([rows, columns])),
            _ => {
                let (name, layer) = (self.net.clone(), name.to_owned());
                Err(ArchitectureError::TooSmall { name, layer, kernel, height, width })
            }
        }
    }

    fn weight(&mut self, layer: &str, role: &str, initial: Initial) -> Value {
        let name = format!("{layer}.{role}");
        let value = Value::from(name.as_str());
        self.weights.push((name, initial));
        value
    }

    fn layer(
        &mut self,
        name: &str,
        operator: &str,
        x: &Feature,
        inputs: Vec<Value>,
        attributes: &[(&str, Attribute)],
        shape: Shape,
    ) -> Feature {
        let y = Feature { value: Value::from(name), shape };
        let inputs = std::iter::once(x.value.clone()).chain(inputs).map(Some).collect();
        let mut node = Node::new(operator, inputs, vec![Some(y.value.clone())]);
        node.name = name.to_owned();
        node.attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        self.graph.nodes.push(node);
        self.graph.value_info.push(y.info());
        y
    }
}

impl Feature {
    pub(super) fn channels(&self) -> usize {
        self.shape.channels
    }

    fn info(&self) -> ValueInfo {
        let sizes = std::iter::once(self.shape.channels).chain(self.shape.sides.into_iter().flatten());
        let dims = std::iter::once(Dimension::Symbol("batch".into())).chain(sizes.map(Dimension::Known));
        ValueInfo::new(self.value.clone(), DataType::Float, dims.collect())
    }
}
