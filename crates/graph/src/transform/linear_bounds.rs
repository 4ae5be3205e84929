//! Linear bounds: from a box or a ball of samples to lower bounds of margins, along lines around every function.

use super::bounds::{Along, Backward, Ball, Opened, Read, Relaxed, Specification, Subject, forward, one_hot, relaxed};
use super::checked;
use super::interval::sample_box;
use crate::{Cause, DataType, Dim, Emit, Interval, Model, Node, Rule, Shaped, TransformError, Value, operator};

const PASS: &str = "linear_bounds";

/// What is bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Margins of the logits.
    Margins(Specification),
    /// Chosen elements of a value, from below and from above: an input, i64 `[n, chosen]`, has the positions of the elements in a sample.
    Elements(Value),
    /// Linear functions of a value: their coefficients are an input, f32 `[n, rows, features]`.
    Rows {
        /// The value.
        value: Value,
        /// Rows of each sample; `None`: as many as are given.
        rows: Option<usize>,
    },
}

/// Where the bounds come from that lines stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intermediate {
    /// From interval arithmetic in the same model (CROWN-IBP: Zhang et al., Towards Stable and Efficient Training of Verifiably Robust
    /// Neural Networks, ICLR 2020).
    Interval,
    /// From inputs.
    Given,
}

/// What chooses among the lower lines that are all sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slopes {
    /// The smaller area below the function (CROWN).
    Adaptive,
    /// Inputs, numbers in [0, 1] for each sample, row and element, so that somebody may search for the best.
    Given {
        /// Rows of each sample.
        rows: usize,
    },
    /// As [`Slopes::Given`], with multipliers of what is known of signs (β-CROWN: Wang et al., Beta-CROWN: Efficient Bound Propagation with Per-neuron
    /// Split Constraints, NeurIPS 2021): inputs that are added to the coefficients of each value that such a function reads. For the points where an
    /// element is at least 0, bounds hold with a multiplier of it that is at most 0; for those where it is at most 0, with one that is at least 0.
    Split {
        /// Rows of each sample.
        rows: usize,
    },
}

/// The points of a sample's neighbourhood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Region {
    /// A box.
    Box,
    /// The points of the box within a Euclidean distance of the sample.
    L2,
    /// The points of the box whose differences from the sample add up to at most a distance.
    L1,
}

/// How to make linear bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinearOptions {
    /// What is bounded.
    pub target: Target,
    /// Where intermediate bounds come from.
    pub intermediate: Intermediate,
    /// Which lower lines.
    pub slopes: Slopes,
    /// For which points.
    pub region: Region,
}

/// A model of linear bounds: see [`linear_bounds`].
#[derive(Clone, Debug)]
pub struct LinearBounds {
    /// The derived model.
    pub model: Model,
    /// Inputs: the ends of the box of each sample, each of the shape of the source model's input; the lower one has its name.
    pub samples: Interval,
    /// Inputs: the samples, and their distance, f32 `[n]`; for regions that are no box.
    pub ball: Option<(Value, Value)>,
    /// Input: the specification, the positions of the elements, or the coefficients.
    pub rows: Value,
    /// The values that functions which are not affine read, in the model's order. Their bounds are inputs if they are given, else values
    /// of the model.
    pub layers: Vec<Relaxed>,
    /// Inputs: slopes, f32 `[n, rows, features]`, and the value whose function they belong to; if they are given.
    pub slopes: Vec<(Value, Value)>,
    /// Inputs: multipliers, as the slopes; for [`Slopes::Split`].
    pub multipliers: Vec<(Value, Value)>,
    /// Output: lower bounds, f32 `[n, rows]`; for elements first those of the elements and then those of their negatives.
    pub bounds: Value,
}

/// Lower bounds of rows of coefficients for any sample of a region, by backward propagation of linear bounds (CROWN: Zhang et al.,
/// Efficient Neural Network Robustness Certification with General Activation Functions, NeurIPS 2018).
///
/// They are sound where the intermediate bounds are, whatever the slopes, up to f32 rounding.
///
/// # Errors
/// The model is not a classifier, or an operator has no rule for linear bounds, or not for one of its attributes.
pub fn linear_bounds(source: &Shaped, options: &LinearOptions) -> Result<LinearBounds, TransformError> {
    let of_model = |cause| TransformError::of_model(PASS, cause);
    let opened = Opened::new(PASS, source)?;
    let subject = Subject::new(&opened);
    let target = match &options.target {
        Target::Margins(_) => &subject.logits,
        Target::Elements(value) | Target::Rows { value, .. } => value,
    };
    let nodes = subject.nodes(target);
    let mut e = Emit::new(subject.source);
    let (samples, boxed) = sample_box(&subject, &mut e).map_err(of_model)?;
    let ball = ball(options.region, &subject, &mut e).map_err(of_model)?;
    let found = relaxed(PASS, &subject, &nodes, &e)?;
    let layers = match options.intermediate {
        Intermediate::Given => {
            let given = |read: &Read, e: &mut Emit<'_>| {
                let value = &read.0;
                let dims = e.dims(value)?;
                let [lower, upper] =
                    ["lower", "upper"].map(|end| e.input(&format!("{end}/{value}"), DataType::Float, dims));
                Relaxed::new(read, Interval { lower, upper }, &subject, e)
            };
            found.iter().map(|found| given(found, &mut e)).collect::<Rule<Vec<_>>>().map_err(of_model)?
        }
        Intermediate::Interval => {
            let intervals = forward(PASS, &subject, boxed.clone(), target, &mut e)?;
            let computed = |read: &Read| {
                let bounds = intervals.get(&read.0).cloned().ok_or(Cause::NoRule)?;
                Relaxed::new(read, bounds, &subject, &e)
            };
            found.iter().map(computed).collect::<Rule<Vec<_>>>().map_err(of_model)?
        }
    };
    let (rows, matrix, count) = match &options.target {
        Target::Margins(specification) => {
            let margins = specification.emit(target, &mut e).map_err(of_model)?;
            (margins.input, margins.matrix, margins.rows)
        }
        Target::Elements(value) => {
            let (input, matrix) = elements(value, &mut e).map_err(of_model)?;
            (input, matrix, Dim::Batch(1))
        }
        Target::Rows { value, rows } => {
            let features = crate::ops::features(value, &e).map_err(of_model)?;
            let rows = rows.map_or(Dim::Batch(1), Dim::Fixed);
            let input = e.input("rows", DataType::Float, &[Dim::Batch(1), rows, Dim::Fixed(features)]);
            (input.clone(), input, rows)
        }
    };
    let (mut slopes, mut multipliers) = (Vec::new(), Vec::new());
    let lines = |node: &Node, value: &Value, e: &mut Emit<'_>| -> Rule<Option<Along>> {
        let found = layers.iter().find(|layer| layer.value == *value);
        let Relaxed { bounds, .. } = found.ok_or_else(|| Cause::Malformed(format!("\"{value}\" has no bounds")))?;
        let mut along = Along { interval: bounds.clone(), slope: None, multiplier: None };
        let (Slopes::Given { rows } | Slopes::Split { rows }) = options.slopes else { return Ok(Some(along)) };
        if operator(&node.operator).is_some_and(|o| o.has_slopes()) {
            let features = crate::ops::features(value, e)?;
            let dims = [Dim::Batch(1), Dim::Fixed(rows), Dim::Fixed(features)];
            let slope = e.input(&format!("slope/{}", node.label()), DataType::Float, &dims);
            slopes.push((value.clone(), slope.clone()));
            along.slope = Some(slope);
            if matches!(options.slopes, Slopes::Split { .. }) {
                let multiplier = e.input(&format!("multiplier/{}", node.label()), DataType::Float, &dims);
                multipliers.push((value.clone(), multiplier.clone()));
                along.multiplier = Some(multiplier);
            }
        }
        Ok(Some(along))
    };
    let ended = Backward::new(PASS, &subject, target, &matrix, &mut e)?.walk(&nodes, &mut e, lines)?;
    let bounds = ended.bounds(|_| Some(boxed.clone()), ball.as_ref(), &mut e).map_err(of_model)?;

    let n = e.dims(&subject.input).map_err(of_model)?[0];
    e.clear_outputs();
    let bounds = e.output(&bounds, DataType::Float, &[n, count]);
    let ball = ball.map(|ball| (ball.centre, ball.radius));
    Ok(LinearBounds { model: checked(PASS, e.finish())?, samples, ball, rows, layers, slopes, multipliers, bounds })
}

/// The inputs of a region that is no box.
fn ball(region: Region, subject: &Subject<'_>, e: &mut Emit<'_>) -> Rule<Option<Ball>> {
    let dual = match region {
        Region::Box => return Ok(None),
        Region::L2 => "ReduceL2",
        Region::L1 => "ReduceMax",
    };
    let facts = e.facts(&subject.input)?;
    let centre = e.input("centre", facts.dtype, &facts.dims);
    let radius = e.input("radius", facts.dtype, &facts.dims[..1]);
    Ok(Some(Ball { centre, radius, dual }))
}

/// Rows for chosen elements of `value` and for their negatives, from a new input of positions.
fn elements(value: &Value, e: &mut Emit<'_>) -> Rule<(Value, Value)> {
    let features = crate::ops::features(value, e)?;
    let chosen = e.input("elements", DataType::Int64, &[Dim::Batch(1), Dim::Batch(1)]);
    let above = one_hot(&chosen, features, e);
    let below = e.op("Neg", &[&above]);
    Ok((chosen, e.op_with("Concat", &[&above, &below], [("axis", 1.into())])))
}
