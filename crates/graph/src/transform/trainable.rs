//! A model whose weights are inputs, as training wants it.

use std::collections::HashSet;

use crate::names::Names;
use crate::{
    Attribute, Canonical, Cause, Dim, Dimension, Facts, Node, Shaped, TransformError, Value, ValueInfo, check,
};

const PASS: &str = "trainable";

/// Where `BatchNormalization` takes mean and variance from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchNorm {
    /// From the batch: the layers run in training mode, and samples depend on each other.
    OfBatch,
    /// The running statistics in the file, as at inference: frozen layers.
    Running,
}

/// A model ready to be trained: see [`trainable`].
#[derive(Clone, Debug)]
pub struct Trainable {
    /// The model. Its transformations are those of any other; the weights are floating-point values like its input.
    pub model: Shaped,
    /// The weights, in the order they were chosen: inputs under the names that the initializers had.
    pub weights: Vec<Value>,
    /// The statistics of each `BatchNormalization`, if they are of the batch.
    pub statistics: Vec<BatchStatistics>,
}

/// Mean and variance of a batch in one `BatchNormalization`, for whoever keeps the running ones.
///
/// PyTorch's update is `running' = momentum running + (1 - momentum) batch`, with the *unbiased* variance
/// `v k / (k - 1)`, where `v` is the variance here and `k` the number of samples times `elements`.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchStatistics {
    /// The initializer with the running mean, f32 `[channels]`.
    pub running_mean: Value,
    /// The initializer with the running variance, f32 `[channels]`.
    pub running_variance: Value,
    /// Output: mean of the batch, f32 `[channels]`.
    pub mean: Value,
    /// Output: variance of the batch, the mean of squares, f32 `[channels]`.
    pub variance: Value,
    /// Elements of each sample and channel.
    pub elements: usize,
    /// Share of the running statistics that stays, as ONNX counts it: 0.9 where PyTorch says 0.1.
    pub momentum: f32,
}

/// The initializers that are taken as weights where nobody chooses: those of a floating-point type with at least one
/// dimension, but for running statistics, bounds, scales of pixels and the like, and what [`preprocess`](crate::preprocess)
/// added. Numbers without dimensions are constants of formulas.
#[must_use]
pub fn weights(source: &Shaped) -> Vec<Value> {
    let model = untied(source);
    let graph = &model.model().graph;
    let mut read = HashSet::new();
    for node in &graph.nodes {
        let inputs = node.inputs.iter().enumerate();
        read.extend(inputs.filter(|(i, _)| holds_weights(node, *i)).filter_map(|(_, v)| v.as_ref()));
    }
    let weights = graph.initializers.iter().filter(|(value, tensor)| {
        tensor.dtype().is_float() && !tensor.dims().is_empty() && !tensor.is_empty() && read.contains(value)
    });
    weights.map(|(value, _)| value.clone()).collect()
}

/// Whether a constant input `i` of `node` can be a weight.
fn holds_weights(node: &Node, i: usize) -> bool {
    let added = node.name.starts_with("preprocess/");
    node.domain.is_empty()
        && !added
        && match node.operator.as_str() {
            "BatchNormalization" => i < 3,
            "Clip" | "Pad" | "Resize" | "OneHot" | "Pow" | "QuantizeLinear" | "DequantizeLinear" => i == 0,
            _ => true,
        }
}

/// `source` with the initializers `weights` as inputs, and with statistics as `batch_norm` says.
///
/// Copies of weights are weights of their own here, as [`untied`] makes them.
///
/// # Errors
/// A chosen weight is no initializer of a floating-point type, or the statistics of a `BatchNormalization` are not constant.
pub fn trainable(source: &Shaped, weights: &[Value], batch_norm: BatchNorm) -> Result<Trainable, TransformError> {
    let mut shaped = untied(source);
    let of_model = |cause| TransformError::of_model(PASS, cause);
    for weight in weights {
        let tensor = shaped.canonical.model.graph.initializers.shift_remove(weight);
        let tensor = tensor.filter(|t| t.dtype().is_float()).ok_or_else(|| {
            of_model(Cause::Unsupported(format!("\"{weight}\" is no floating-point initializer of the model")))
        })?;
        let dims = tensor.dims().iter().map(|&d| Dimension::Known(d)).collect();
        shaped.canonical.model.graph.inputs.push(ValueInfo::new(weight.clone(), tensor.dtype(), dims));
        if let Some(facts) = shaped.shapes.0.get_mut(weight) {
            facts.constant = None;
        }
    }
    let statistics = match batch_norm {
        BatchNorm::Running => Vec::new(),
        BatchNorm::OfBatch => of_batch(&mut shaped)?,
    };
    check(shaped.model()).map_err(|defect| of_model(Cause::Malformed(defect.to_string())))?;
    Ok(Trainable { model: shaped, weights: weights.to_vec(), statistics })
}

/// `source` without copies of initializers: each is an initializer itself.
///
/// PyTorch's exporter writes an `Identity` where two weights start out equal; in training they are weights of their own.
#[must_use]
pub fn untied(source: &Shaped) -> Shaped {
    let Shaped { canonical: Canonical { mut model, adaptations }, shapes, lowering } = source.clone();
    let graph = &mut model.graph;
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes) {
        let copied = node.input(0).and_then(|v| graph.initializers.get(v)).filter(|t| t.dtype().is_float()).cloned();
        match (copied, node.output(0)) {
            (Some(tensor), Some(copy))
                if node.operator == "Identity"
                    && node.domain.is_empty()
                    && graph.outputs.iter().all(|o| o.value != *copy) =>
            {
                graph.initializers.insert(copy.clone(), tensor);
            }
            _ => nodes.push(node),
        }
    }
    graph.nodes = nodes;
    Shaped { canonical: Canonical { model, adaptations }, shapes, lowering }
}

/// Switches every `BatchNormalization` to training mode. With a momentum of 0 its further outputs are the statistics of the
/// batch alone.
fn of_batch(shaped: &mut Shaped) -> Result<Vec<BatchStatistics>, TransformError> {
    let mut names = Names::of(&shaped.canonical.model.graph);
    let graph = &mut shaped.canonical.model.graph;
    let shapes = &mut shaped.shapes.0;
    let mut statistics = Vec::new();
    for node in graph.nodes.iter_mut().filter(|n| n.domain.is_empty() && n.operator == "BatchNormalization") {
        let at = |cause| TransformError::at(PASS, node, cause);
        let [x, running_mean, running_variance] = [0, 3, 4].map(|i| node.required(i).cloned());
        let (x, running_mean, running_variance) =
            (x.map_err(at)?, running_mean.map_err(at)?, running_variance.map_err(at)?);
        if let Some(v) = [&running_mean, &running_variance].into_iter().find(|v| !graph.initializers.contains_key(*v)) {
            return Err(at(Cause::Unsupported(format!(
                "the running statistics \"{v}\" are computed; they are kept here"
            ))));
        }
        let dims = shapes.get(&x).map(|f| f.dims.clone()).unwrap_or_default();
        let mut elements = 1;
        for dim in dims.iter().skip(2) {
            let Dim::Fixed(size) = dim else {
                return Err(at(Cause::Unsupported(format!("\"{x}\" has several dimensions that depend on the batch"))));
            };
            elements *= size;
        }
        let [mean, variance] = [("mean", &running_mean), ("variance", &running_variance)].map(|(role, running)| {
            let value = names.fresh(&format!("{}/batch {role}", node.label()));
            let facts = shapes.get(running).map(|f| Facts { constant: None, ..f.clone() });
            shapes.extend(facts.map(|f| (value.clone(), f)));
            value
        });
        let momentum = node.float("momentum", 0.9).map_err(at)?;
        node.attributes.insert("training_mode".into(), Attribute::Int(1));
        node.attributes.insert("momentum".into(), Attribute::Float(0.0));
        node.outputs.truncate(1);
        node.outputs.extend([Some(mean.clone()), Some(variance.clone())]);
        statistics.push(BatchStatistics { running_mean, running_variance, mean, variance, elements, momentum });
    }
    Ok(statistics)
}
