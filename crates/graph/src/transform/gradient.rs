//! Gradients, by reverse-mode differentiation of the graph.
//!
//! The derived model is the source model with nodes added behind it: primal values are read, never computed again.

use super::checked;
use super::reverse::reverse;
use crate::{Cause, DataType, Dim, Emit, Loss, Model, Rule, Shaped, TransformError, Value};

/// A model with its vector–Jacobian products: see [`vjp`].
#[derive(Clone, Debug)]
pub struct Vjp {
    /// The source model with one more input per chosen output and one more output per chosen input.
    pub model: Model,
    /// The inputs that take the cotangents `w`, one per chosen output and of its shape and type.
    pub cotangents: Vec<Value>,
    /// The outputs that give `Jᵀ w`, one per chosen input and of its shape and type.
    pub products: Vec<Value>,
}

/// The vector–Jacobian products of `outputs` with respect to `inputs`, each any floating-point value of the model.
///
/// # Errors
/// An operator on the way has no rule, or not for one of its attributes; or no differentiable path leads from an input to
/// any of the outputs.
pub fn vjp(source: &Shaped, outputs: &[Value], inputs: &[Value]) -> Result<Vjp, TransformError> {
    const PASS: &str = "vjp";
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
        let product = product.ok_or_else(|| no_path(PASS, input))?;
        let facts = e.facts(input).map_err(|cause| TransformError::of_model(PASS, cause))?;
        products.push(e.output(&product, facts.dtype, &facts.dims));
    }
    Ok(Vjp { model: checked(PASS, e.finish())?, cotangents, products })
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
}

/// The gradient of `loss` on the logits with respect to the input, of a model with one input and logits as first output.
///
/// Samples do not depend on each other in a classifier at inference, so the gradient of the sum holds that of each sample.
///
/// # Errors
/// The model is not a classifier with one input, the loss needs more classes than it has, an operator on the way has no
/// rule, or no differentiable path leads from the input to the logits.
pub fn gradient(source: &Shaped, loss: Loss) -> Result<Gradient, TransformError> {
    const PASS: &str = "gradient";
    let of_model = |cause| TransformError::of_model(PASS, cause);
    let (input, output, classes) = classifier(source).map_err(of_model)?;
    let mut e = Emit::new(source);
    e.scope(PASS, "");
    let (x, z) = (e.facts(&input).map_err(of_model)?, e.facts(&output).map_err(of_model)?);
    let (n, logits_dims) = ([Dim::Batch(1)], [Dim::Batch(1), Dim::Fixed(classes)]);

    let labels = e.input("labels", DataType::Int64, &n);
    let targets = loss.needs_target().then(|| e.input("targets", DataType::Int64, &n));
    let mut logits = output.clone();
    if z.dims != logits_dims {
        logits = e.reshape(&logits, &logits_dims).map_err(of_model)?;
    }
    logits = e.cast(&logits, z.dtype, DataType::Float);
    e.scope(loss.name(), "");
    let seed = loss.emit(&logits, classes, &labels, targets.as_ref(), &mut e).map_err(of_model)?;
    e.scope(PASS, "");
    let mut cotangent = e.cast(&seed.cotangent, DataType::Float, z.dtype);
    if z.dims != logits_dims {
        cotangent = e.reshape(&cotangent, &z.dims).map_err(of_model)?;
    }
    let found = reverse(PASS, &mut e, [(output, cotangent)], std::slice::from_ref(&input))?;
    let found = found.into_iter().flatten().next().ok_or_else(|| no_path(PASS, &input))?;

    e.clear_outputs();
    let logits = e.output(&logits, DataType::Float, &logits_dims);
    let loss = e.output(&seed.loss, DataType::Float, &n);
    let gradient = e.output(&found, x.dtype, &x.dims);
    Ok(Gradient { model: checked(PASS, e.finish())?, input, labels, targets, logits, loss, gradient, classes })
}

/// Input, logits and number of classes of a model that is a classifier.
fn classifier(source: &Shaped) -> Rule<(Value, Value, usize)> {
    let graph = &source.model().graph;
    let [input] = &graph.inputs[..] else {
        let names: Vec<_> = graph.inputs.iter().map(|i| i.value.as_str()).collect();
        return Err(Cause::Unsupported(format!(
            "a classifier has one input, this model has {}: {names:?}",
            names.len()
        )));
    };
    let output = graph.outputs.first().ok_or_else(|| Cause::Malformed("the model has no output".into()))?;
    let facts = source
        .facts(&output.value)
        .ok_or_else(|| Cause::Malformed(format!("value \"{}\" has no known shape", output.value)))?;
    let classes = match facts.dims.split_first() {
        Some((Dim::Batch(1), rest)) => {
            let sizes = rest.iter().map(|d| if let Dim::Fixed(size) = d { Some(*size) } else { None });
            sizes.collect::<Option<Vec<usize>>>().map(|sizes| sizes.iter().product())
        }
        _ => None,
    };
    let classes = classes.filter(|&c| c > 0 && facts.dims.len() > 1 && facts.dtype.is_float()).ok_or_else(|| {
        Cause::Unsupported(format!(
            "the output \"{}\" of a classifier holds floating-point logits of shape [n, classes], this is {:?} {:?}",
            output.value, facts.dtype, facts.dims
        ))
    })?;
    Ok((input.value.clone(), output.value.clone(), classes))
}

fn no_path(pass: &'static str, input: &Value) -> TransformError {
    TransformError::of_model(
        pass,
        Cause::Unsupported(format!(
            "no differentiable path leads from \"{input}\" to the output: the gradient is zero everywhere"
        )),
    )
}
