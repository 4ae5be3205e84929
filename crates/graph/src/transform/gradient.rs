//! Gradients, by reverse-mode differentiation of the graph.
//!
//! The derived model is the source model with nodes added behind it: primal values are read, never computed again.

use super::checked;
use super::reverse::{no_path, reverse};
use crate::quantized::written_out;
use crate::{Cause, DataType, Emit, Estimator, Loss, Model, ShapeError, Shaped, TransformError, Value};

/// A model with its vector–Jacobian products: see [`vjp`].
#[derive(Clone, Debug)]
pub struct Vjp {
    /// The source model with one more input per chosen output and one more output per chosen input.
    pub model: Model,
    /// The inputs that take the cotangents `w`, one per chosen output and of its shape and type.
    pub cotangents: Vec<Value>,
    /// The outputs that give `Jᵀ w`, one per chosen input and of its shape and type.
    pub products: Vec<Value>,
    /// The nodes on the way whose derivative is an estimator, in the model's order; empty if the products are exact.
    pub straight_through: Vec<Estimator>,
}

/// The vector–Jacobian products of `outputs` with respect to `inputs`, each any floating-point value of the model.
///
/// # Errors
/// An operator on the way has no rule, or not for one of its attributes; or no differentiable path leads from an input to
/// any of the outputs.
pub fn vjp(source: &Shaped, outputs: &[Value], inputs: &[Value]) -> Result<Vjp, TransformError> {
    const PASS: &str = "vjp";
    let source = &*written_out(PASS, source)?;
    let mut e = Emit::new(source);
    let mut cotangents = Vec::with_capacity(outputs.len());
    for output in outputs {
        let facts = e.facts(output).map_err(|cause| TransformError::of_model(PASS, cause))?;
        cotangents.push(e.input(&format!("cotangent/{output}"), facts.dtype, &facts.dims));
    }
    let seeds = outputs.iter().cloned().zip(cotangents.iter().cloned());
    let found = reverse(PASS, &mut e, seeds, inputs)?;
    let mut products = Vec::with_capacity(inputs.len());
    for (input, product) in inputs.iter().zip(found) {
        let product = product.ok_or_else(|| no_path(PASS, source, input, outputs))?;
        let facts = e.facts(input).map_err(|cause| TransformError::of_model(PASS, cause))?;
        products.push(e.output(&product, facts.dtype, &facts.dims));
    }
    let straight_through = e.estimators();
    Ok(Vjp { model: checked(PASS, e.finish())?, cotangents, products, straight_through })
}

/// A classifier with a loss and its gradient: see [`gradient`].
#[derive(Clone, Debug)]
pub struct Gradient {
    /// The derived model. One run of it gives all three outputs.
    pub model: Model,
    /// Input `x`, of the source model's shape.
    pub input: Value,
    /// Input: labels, i64 `[n]`, each in `0..classes`.
    pub labels: Value,
    /// Input: target classes, i64 `[n]`, each in `0..classes`; for a loss that has targets.
    pub targets: Option<Value>,
    /// Output: logits, f32 `[n, classes]`.
    pub logits: Value,
    /// Output: loss of each sample, f32 `[n]`.
    pub loss: Value,
    /// Output: gradient of the sum of the losses, of the shape and type of `x`.
    pub gradient: Value,
    /// Number of classes.
    pub classes: usize,
    /// The nodes on the way whose derivative is an estimator, in the model's order; empty if the gradient is exact.
    pub straight_through: Vec<Estimator>,
}

/// The gradient of `loss` on the logits with respect to the input, of a classifier: a model with one input and
/// one output of shape `[n, classes]`.
///
/// Samples do not depend on each other in a classifier at inference, so the gradient of the sum holds that of each sample.
///
/// # Errors
/// The model is not a classifier, the loss needs more classes than it has, an operator on the way has no
/// rule, or no differentiable path leads from the input to the logits.
pub fn gradient(source: &Shaped, loss: Loss) -> Result<Gradient, TransformError> {
    const PASS: &str = "gradient";
    let source = &*written_out(PASS, source)?;
    let of_model = |cause| TransformError::of_model(PASS, cause);
    let not_a_classifier = |error: ShapeError| of_model(Cause::Unsupported(error.to_string()));
    let input = source.input().map_err(not_a_classifier)?.clone();
    let output = source.logits().map_err(not_a_classifier)?.clone();
    let mut e = Emit::new(source);
    let Derived { labels, targets, logits, loss, classes, products } =
        derive(PASS, &mut e, &output, loss, std::slice::from_ref(&input))?;
    let found = products
        .into_iter()
        .flatten()
        .next()
        .ok_or_else(|| no_path(PASS, source, &input, std::slice::from_ref(&output)))?;

    let (x, z) = (e.facts(&input).map_err(of_model)?, e.facts(&output).map_err(of_model)?);
    e.clear_outputs();
    let logits = e.output(&logits, DataType::Float, &z.dims);
    let loss = e.output(&loss, DataType::Float, &z.dims[..1]);
    let gradient = e.output(&found, x.dtype, &x.dims);
    let straight_through = e.estimators();
    let model = checked(PASS, e.finish())?;
    Ok(Gradient { model, input, labels, targets, logits, loss, gradient, classes, straight_through })
}

/// A loss on the logits and its derivatives, as values of a graph that is being built.
pub(super) struct Derived {
    pub(super) labels: Value,
    pub(super) targets: Option<Value>,
    /// f32 `[n, classes]`.
    pub(super) logits: Value,
    /// f32 `[n]`.
    pub(super) loss: Value,
    pub(super) classes: usize,
    /// The derivatives of the sum of the losses; `None` where no differentiable path leads.
    pub(super) products: Vec<Option<Value>>,
}

/// Emits `loss` on the logits `output`, with its inputs, and its derivatives by `wrt`.
pub(super) fn derive(
    pass: &'static str,
    e: &mut Emit<'_>,
    output: &Value,
    loss: Loss,
    wrt: &[Value],
) -> Result<Derived, TransformError> {
    let of_model = |cause| TransformError::of_model(pass, cause);
    let z = e.facts(output).map_err(of_model)?;
    let classes = e.fixed(output, 1).map_err(of_model)?.iter().product();
    let labels = e.input("labels", DataType::Int64, &z.dims[..1]);
    let targets = loss.needs_target().then(|| e.input("targets", DataType::Int64, &z.dims[..1]));
    e.scope(loss.name(), "");
    let logits = e.cast(output, z.dtype, DataType::Float);
    let seed = loss.emit(&logits, classes, &labels, targets.as_ref(), e).map_err(of_model)?;
    let cotangent = e.cast(&seed.cotangent, DataType::Float, z.dtype);
    let products = reverse(pass, e, [(output.clone(), cotangent)], wrt)?;
    Ok(Derived { labels, targets, logits, loss: seed.loss, classes, products })
}
