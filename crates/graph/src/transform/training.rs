//! One step of training as a graph: the loss, its gradient by the weights, and the statistics of the batch.

use super::checked;
use super::reverse::{no_path, reverse};
use super::trainable::{BatchNorm, BatchStatistics, trainable, weights};
use super::views::{Views, views};
use crate::quantized::written_out;
use crate::{Cause, Criterion, DataType, Emit, Estimator, Minimand, Model, Shaped, TransformError, Value};

const PASS: &str = "training";

/// By which values the loss is derived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrt {
    /// Initializers; `None` for all that [`weights`] finds and a differentiable path leads from.
    pub weights: Option<Vec<Value>>,
    /// Whether the gradient by the model's input is computed as well, in the same run.
    pub input: bool,
}

/// A step of training: see [`training`].
#[derive(Clone, Debug)]
pub struct Training {
    /// The derived model. One run of it gives all outputs.
    pub model: Model,
    /// Inputs: the samples as each view of the criterion sees them, each of the source model's shape.
    pub inputs: Vec<Value>,
    /// Input: labels, i64 `[n]`, each in `0..classes`.
    pub labels: Value,
    /// Outputs: logits of each view, f32 `[n, classes]`, as the model gives them while it is trained.
    pub logits: Vec<Value>,
    /// Output: loss of each sample, f32 `[n]`.
    pub loss: Value,
    /// The weights, each with its gradient.
    pub weights: Vec<Weight>,
    /// Output: gradient by the input of the last view, if it was asked for.
    pub gradient: Option<Value>,
    /// Statistics of the batch in each `BatchNormalization`, outputs, view after view; empty for running statistics.
    pub statistics: Vec<BatchStatistics>,
    /// Number of classes.
    pub classes: usize,
    /// The nodes on the way whose derivative is an estimator, in the model's order; empty if the gradients are exact.
    pub straight_through: Vec<Estimator>,
}

/// A weight of a [`Training`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weight {
    /// Input: its content, under the name of the initializer in the source model, of its shape and type.
    pub value: Value,
    /// Output: the gradient, of the same shape and type.
    pub gradient: Value,
}

/// The gradient of the *sum* of the losses of a batch by the weights, of a classifier.
///
/// The sum, not the mean: the gradient of a batch is that of its parts added up, so that a batch may be run in parts, and the
/// mean's gradient is this one divided by the number of samples. With `BatchNorm::OfBatch` the samples of one run depend on
/// each other, so that parts are batches of their own, as they are elsewhere. Objectives that are no [`Criterion`] on the logits
/// are derived from [`trainable`]'s model with [`vjp`](crate::vjp), which takes a cotangent for the logits.
///
/// # Errors
/// As [`gradient`](crate::gradient) and [`trainable`]; no differentiable path leads from a chosen weight to the logits, or there
/// are no weights.
pub fn training(
    source: &Shaped,
    criterion: &dyn Criterion,
    wrt: &Wrt,
    batch_norm: BatchNorm,
) -> Result<Training, TransformError> {
    let source = &*written_out(PASS, source)?;
    let of_model = |cause| TransformError::of_model(PASS, cause);
    let not_a_classifier = |error: crate::ShapeError| of_model(Cause::Unsupported(error.to_string()));
    let input = source.input().map_err(not_a_classifier)?.clone();
    let output = source.logits().map_err(not_a_classifier)?.clone();
    let mut chosen = wrt.weights.clone().unwrap_or_else(|| weights(source));
    loop {
        let prepared = trainable(source, &chosen, batch_norm)?;
        let Views { model: prepared, inputs, logits: outputs } = views(prepared, &input, &output, criterion.views());
        let mut e = Emit::new(&prepared.model);
        let z = e.facts(&output).map_err(of_model)?;
        let classes = e.fixed(&output, 1).map_err(of_model)?.iter().product();
        let labels = e.input("labels", DataType::Int64, &z.dims[..1]);
        e.scope("criterion", "");
        let logits: Vec<Value> = outputs.iter().map(|z_k| e.cast(z_k, z.dtype, DataType::Float)).collect();
        let Minimand { loss, cotangents } = criterion.emit(&logits, classes, &labels, &mut e).map_err(of_model)?;
        let seeds: Vec<(Value, Value)> = outputs.iter().cloned().zip(cotangents).collect();
        let seeds: Vec<_> = seeds.into_iter().map(|(z_k, w)| (z_k, e.cast(&w, DataType::Float, z.dtype))).collect();
        let by: Vec<Value> = chosen.iter().chain(inputs.last().filter(|_| wrt.input)).cloned().collect();
        let mut products = reverse(PASS, &mut e, seeds, &by)?;
        if wrt.weights.is_none() && products.iter().take(chosen.len()).any(Option::is_none) {
            // What nothing depends on is no weight.
            let mut reached = products.iter().map(Option::is_some);
            chosen.retain(|_| reached.next().unwrap_or(false));
            continue;
        }
        if chosen.is_empty() {
            return Err(of_model(Cause::Unsupported("the model has no weights".into())));
        }
        if let Some((unreached, _)) = by.iter().zip(&products).find(|(_, p)| p.is_none()) {
            return Err(no_path(PASS, &prepared.model, unreached, &outputs));
        }
        let gradient = if wrt.input { products.pop().flatten() } else { None };

        let n = [e.dims(&output).map_err(of_model)?[0]];
        e.clear_outputs();
        let logits = logits.iter().map(|z_k| e.output(z_k, DataType::Float, &z.dims)).collect();
        let loss = e.output(&loss, DataType::Float, &n);
        let mut output_like = |value: &Value, like: &Value| {
            let facts = e.facts(like).map_err(of_model)?;
            Ok::<_, TransformError>(e.output(value, facts.dtype, &facts.dims))
        };
        let gradient = gradient.map(|g| output_like(&g, &input)).transpose()?;
        let mut weights = Vec::with_capacity(chosen.len());
        for (value, product) in chosen.iter().zip(products.iter().flatten()) {
            weights.push(Weight { value: value.clone(), gradient: output_like(product, value)? });
        }
        let mut statistics = prepared.statistics.clone();
        for s in &mut statistics {
            s.mean = output_like(&s.mean.clone(), &s.running_mean)?;
            s.variance = output_like(&s.variance.clone(), &s.running_variance)?;
        }
        let straight_through = e.estimators();
        let model = checked(PASS, e.finish())?;
        return Ok(Training {
            model,
            inputs,
            labels,
            logits,
            loss,
            weights,
            gradient,
            statistics,
            classes,
            straight_through,
        });
    }
}
