//! Interval bounds: from a box of samples to lower bounds of margins.

use super::bounds::{Backward, Opened, Relaxed, Specification, Subject, forward, relaxed};
use super::checked;
use crate::{DataType, Emit, Interval, Model, Rule, Shaped, TransformError, Value};

const PASS: &str = "interval";

/// A model of interval bounds: see [`interval`].
#[derive(Clone, Debug)]
pub struct Intervals {
    /// The derived model.
    pub model: Model,
    /// Inputs: the ends of the box of each sample, each of the shape of the source model's input; the lower one has its name.
    pub samples: Interval,
    /// Input: what is bounded, as the [`Specification`] says.
    pub specification: Value,
    /// Output: lower bounds of the margins, f32 `[n, rows]`.
    pub margins: Value,
    /// Outputs: bounds of the logits, f32 `[n, classes]`.
    pub logits: Interval,
    /// Outputs: bounds of the values that functions which are not affine read, in the model's order.
    pub layers: Vec<Relaxed>,
}

/// Bounds of all that a classifier computes for any sample of a box, by interval arithmetic (Gowal et al., Scalable Verified Training for
/// Provably Robust Image Classification, ICCV 2019).
///
/// The affine layers at the end and the specification are taken as one layer, which is tighter than bounds of the logits. The model
/// is made of operators that have gradients, so it can be trained through. The numbers are those of exact arithmetic up to f32 rounding.
///
/// # Errors
/// The model is not a classifier, or an operator has no interval rule, or not for one of its attributes.
pub fn interval(source: &Shaped, specification: Specification) -> Result<Intervals, TransformError> {
    let of_model = |cause| TransformError::of_model(PASS, cause);
    let opened = Opened::new(PASS, source)?;
    let subject = Subject::new(&opened);
    let nodes = subject.nodes(&subject.logits);
    let mut e = Emit::new(subject.source);
    let (samples, boxed) = sample_box(&subject, &mut e).map_err(of_model)?;
    let intervals = forward(PASS, &subject, boxed, &subject.logits, &mut e)?;
    let margins = specification.emit(&subject.logits, &mut e).map_err(of_model)?;
    let rows = Backward::new(PASS, &subject, &subject.logits, &margins.matrix, &mut e)?;
    let ended = rows.walk(&nodes, &mut e, |_, _, _| Ok(None))?;
    let lower = ended.bounds(|value| intervals.get(value).cloned(), None, &mut e).map_err(of_model)?;

    let n = e.dims(&subject.logits).map_err(of_model)?[0];
    e.clear_outputs();
    let lower = e.output(&lower, DataType::Float, &[n, margins.rows]);
    let outputs = |value: &Value, e: &mut Emit<'_>| -> Rule<Interval> {
        let dims = e.dims(value)?;
        let Some(Interval { lower, upper }) = intervals.get(value) else { return Err(crate::Cause::NoRule) };
        Ok(Interval { lower: e.output(lower, DataType::Float, dims), upper: e.output(upper, DataType::Float, dims) })
    };
    let logits = outputs(&subject.logits, &mut e).map_err(of_model)?;
    let mut layers = Vec::new();
    for read in relaxed(PASS, &subject, &nodes, &e)? {
        let bounds = outputs(&read.0, &mut e).map_err(of_model)?;
        layers.push(Relaxed::new(&read, bounds, &subject, &e).map_err(of_model)?);
    }
    let model = checked(PASS, e.finish())?;
    Ok(Intervals { model, samples, specification: margins.input, margins: lower, logits, layers })
}

/// The inputs that take the box of each sample: the source model's own takes the lower end, so that what the model asks of its input's
/// shape stays as it is.
pub(super) fn sample_box(subject: &Subject<'_>, e: &mut Emit<'_>) -> Rule<(Interval, Interval)> {
    crate::ops::features(&subject.input, e)?;
    let facts = e.facts(&subject.input)?;
    let upper = e.input("upper", facts.dtype, &facts.dims);
    let samples = Interval { lower: subject.input.clone(), upper };
    Ok((samples.clone(), samples))
}
